"""What the supervisor is told to run."""

from contextlib import ExitStack
from pathlib import Path
from socket import socket

import pytest
from pytest_django import Settings

from ops import embedded
from ops.parts import platform_parts
from ops.supervisor import Part
from taptrading.limits import LIMITS


def make_parts(*, fund_house: bool = False, web: int = 1) -> dict[str, Part]:
    with ExitStack() as held:
        parts = platform_parts(
            listeners=[held.enter_context(socket()) for _ in range(web)],
            environment={"DOMAIN": "x"},
            fund_house=fund_house,
        )
    return {part.name: part for part in parts}


def test_platform_parts_when_redis_is_embedded_then_all_parts_in_starting_order(
    settings: Settings,
) -> None:
    settings.REDIS_EMBEDDED = True

    assert list(make_parts()) == ["valkey", "writer", "pricefeed", "web", "worker", "beat"]


def test_platform_parts_when_redis_is_elsewhere_then_no_valkey_and_nobody_waits_for_it(
    settings: Settings,
) -> None:
    settings.REDIS_EMBEDDED = False

    parts = make_parts()

    assert "valkey" not in parts
    assert all("valkey" not in part.after for part in parts.values())


def test_platform_parts_when_house_has_no_money_then_funded_once_behind_the_writer() -> None:
    funding = make_parts(fund_house=True)["funding"]

    assert funding.once
    assert funding.after == ("writer",)


def test_platform_parts_when_made_then_every_prerequisite_is_a_part() -> None:
    parts = make_parts(fund_house=True)

    assert {name for part in parts.values() for name in part.after} <= set(parts)


def test_platform_parts_when_made_then_web_bounds_frames_and_trusts_no_proxy() -> None:
    command = make_parts()["web"].command

    assert command[command.index("--ws-max-size") + 1] == str(LIMITS.socket_frame_bytes)
    assert "--no-proxy-headers" in command


def test_platform_parts_when_web_listens_twice_then_each_part_has_its_own_socket() -> None:
    parts = make_parts(web=2)

    assert [name for name in parts if name.startswith("web")] == ["web", "web-2"]
    assert {"web", "web-2"} <= set(parts["beat"].after)
    assert parts["web"].listener is not parts["web-2"].listener
    handed = [
        part.command[part.command.index("--fd") + 1] for part in parts.values() if part.listener
    ]
    assert len(set(handed)) == 2


def test_find_server_when_one_is_on_path_then_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert embedded.find_server() == server


def test_find_server_when_none_is_on_path_then_the_wheels_binary_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert embedded.find_server().name == "valkey-server"


def test_server_command_when_made_then_keeps_data_and_listens_on_no_port(tmp_path: Path) -> None:
    command = embedded.server_command(
        Path("/x/valkey-server"), socket=tmp_path / "s", folder=tmp_path / "data"
    )

    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert (tmp_path / "data").is_dir()
