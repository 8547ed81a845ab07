"""What is checked and made before the parts start."""

import os
import socket
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from ops import preparing
from ops.lock import FolderLock
from tests import factories, fakes
from tests.stack import free_port


def listeners(port: int, host: str = "127.0.0.1") -> list[socket.socket]:
    with preparing.web_listeners(host, port, 2) as made:
        return made


def test_web_listeners_when_somebody_listens_then_names_port_and_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(preparing.PortTaken, match=rf"127\.0\.0\.1:{port} .* WEB_PORT"):
            listeners(port)

    listeners(port)


@pytest.mark.parametrize("listening", [False, True])
def test_web_listeners_when_another_platform_has_the_port_then_not_shared_with_it(
    listening: bool,
) -> None:
    port = free_port()
    with preparing.web_listeners("127.0.0.1", port, 1) as (other,):
        if listening:
            other.listen()

        with pytest.raises(preparing.PortTaken):
            listeners(port)

    listeners(port)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_web_listeners_when_one_of_two_stops_listening_then_the_other_gets_every_newcomer(
    host: str,
) -> None:
    port = free_port()
    with preparing.web_listeners(host, port, 2) as (first, second):
        first.listen()
        second.listen()
        second.shutdown(socket.SHUT_RDWR)
        first.settimeout(5)

        for _ in range(20):
            with socket.create_connection((host, port), timeout=5):
                first.accept()[0].close()


def test_web_listeners_when_connection_is_accepted_then_small_frames_leave_at_once() -> None:
    port = free_port()
    with preparing.web_listeners("127.0.0.1", port, 1) as (listener,):
        listener.listen()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_run_platform_when_another_holds_the_folder_then_refuses_before_touching_it(
    tmp_path: Path, settings: Settings
) -> None:
    settings.DATA_DIR = tmp_path
    lock = FolderLock(tmp_path / "platform.lock")
    lock.take()

    with pytest.raises(CommandError, match=f"already runs on .* as process {os.getpid()}:"):
        call_command("runplatform", port=1)

    lock.release()
    assert os.listdir(tmp_path) == ["platform.lock"]


def test_remove_stale_sockets_when_a_killed_platform_left_some_then_they_go(
    tmp_path: Path, settings: Settings
) -> None:
    settings.WRITER_SOCKET = tmp_path / "writer.sock"
    settings.VALKEY_SOCKET = tmp_path / "valkey.sock"
    settings.WRITER_SOCKET.touch()

    preparing.remove_stale_sockets()

    assert os.listdir(tmp_path) == []


def test_collect_static_when_sources_change_then_again_and_only_then(
    tmp_path: Path, settings: Settings
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "page.css").write_text("a {}")
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [source]
    settings.STATIC_ROOT = tmp_path / "served"

    assert preparing.collect_static_if_stale()
    assert not preparing.collect_static_if_stale()
    (source / "page.css").write_text("a { color: red }")
    assert preparing.collect_static_if_stale()

    assert (tmp_path / "served" / "page.css").read_text() == "a { color: red }"


@pytest.mark.django_db
def test_migrate_if_due_when_tables_are_current_then_does_nothing() -> None:
    assert not preparing.migrate_if_due()


def test_house_is_funded_when_funding_was_written_then_true(writer: fakes.InProcessLink) -> None:
    assert not preparing.house_is_funded()

    factories.funded_house(writer)

    assert preparing.house_is_funded()
