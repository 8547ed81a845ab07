"""`manage.py doctor`, on installations that are broken in ways newcomers break them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import call_command
from django.db.migrations.recorder import MigrationRecorder

from ops.archive import status as archive_status
from ops.backup import status as backup_status
from ops.doctor import BAD, NOTE, OK, WARN, examine, ground
from ops.lock import FolderLock
from pricefeed.board import FEED_KEY, FeedState, TickRecord, encode
from taptrading import clock
from tests.servers import Valkey, valkey_server
from tests.stack import ROOT

pytestmark = pytest.mark.django_db
Found = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def here(settings: Any, server: Valkey, tmp_path: Path) -> Any:
    tmp_path.chmod(0o700)
    settings.DATA_DIR = tmp_path
    settings.WRITER_SOCKET = tmp_path / "writer.sock"
    settings.REDIS_URL = server.url
    settings.REDIS_EMBEDDED = False
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.config_set("maxmemory-policy", "noeviction")
    return settings


@pytest.fixture
def running(here: Any) -> Iterator[Any]:
    """As far as the folder's lock says."""
    lock = FolderLock(here.DATA_DIR / "platform.lock")
    lock.take()
    yield here
    lock.release()


def asked() -> tuple[int, Found]:
    """The exit code, and the last finding of each check."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("doctor", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert isinstance(left.value.code, int)
    return left.value.code, {finding["check"]: finding for finding in told["findings"]}


def started(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own: these do not come as far as Django."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *words],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_doctor_when_settings_refuse_to_be_loaded_then_says_what_to_do_about_each() -> None:
    done = started("--json", PRODUCTION="1", DEBUG="1", SOURCES_MIN="7")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)["findings"]
    settings = {one["says"]: one["advice"] for one in found if one["check"] == "settings"}
    assert "Unset DEBUG" in settings["DEBUG is on"]
    assert any("token_urlsafe" in advice for advice in settings.values())
    assert any(says.startswith("SOURCES_MIN=7") for says in settings)
    assert all(settings.values())
    assert {"python", "sqlite"} <= {finding["check"] for finding in found}


def test_doctor_when_the_data_folder_cannot_be_made_then_says_so_in_words() -> None:
    done = started(DATA_DIR="/proc/nowhere")
    assert done.returncode == 2
    assert "unusable" in done.stdout
    assert "Choose another DATA_DIR" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_when_the_platform_is_stopped_then_nothing_is_bad(here: Any) -> None:
    _, found = asked()
    assert found["platform"]["state"] == NOTE
    assert found["redis"]["state"] in (OK, WARN)
    assert "data folder" not in found  # it has something to say only if something is wrong
    assert [check for check, one in found.items() if one["state"] == BAD] == []


def test_doctor_when_redis_does_not_answer_then_bad_and_where_to_read_on(here: Any) -> None:
    here.REDIS_URL = f"unix://{here.DATA_DIR}/nobody.sock"
    code, found = asked()
    assert (code, found["redis"]["state"]) == (2, BAD)
    assert "redis-lost.md" in found["redis"]["advice"]


def test_doctor_when_redis_evicts_then_bad_for_nonces_may_be_forgotten(
    here: Any, server: Valkey
) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=out)
    assert "maxmemory-policy is allkeys-lru" in out.getvalue()
    assert "-> CONFIG SET maxmemory-policy noeviction" in out.getvalue()


def test_doctor_when_others_may_enter_the_data_folder_then_says_chmod(here: Any) -> None:
    here.DATA_DIR.chmod(0o755)
    code, found = asked()
    assert found["data folder"]["advice"] == f"chmod 700 {here.DATA_DIR}"
    assert code >= 1


def test_doctor_when_a_migration_is_due_then_bad(here: Any) -> None:
    MigrationRecorder.Migration.objects.filter(app="ops").delete()
    code, found = asked()
    assert code == 2
    assert "migrations are due" in found["database default"]["says"]


def test_doctor_when_the_writer_is_gone_and_the_price_is_old_then_both_are_bad(
    running: Any, server: Valkey
) -> None:
    tick = TickRecord(1, clock.now_ms() - 5_000, 9_500_000, 0, 0, "simulated")
    with redis.Redis.from_url(server.url) as client:
        client.set(FEED_KEY, encode(FeedState(tick, "open", "open", "drill")))
    code, found = asked()
    assert code == 2
    assert found["writer"]["state"] == found["price feed"]["state"] == BAD
    assert "writer-down.md" in found["writer"]["advice"]
    assert found["breaker"]["says"] == "an operator holds it open: drill"


def test_doctor_when_backup_and_archive_are_late_then_each_names_its_runbook(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_us = clock.now_us()
    backup_status.remember({"taken_at": now_us / clock.US_PER_S - 5 * 3_600})
    monkeypatch.setattr(
        archive_status, "last_success_us", lambda: now_us - 9 * 86_400 * clock.US_PER_S
    )
    _, found = asked()
    assert (found["backup"]["state"], found["backup"]["says"]) == (BAD, "the newest is 5 h old")
    assert (found["archive"]["state"], found["archive"]["says"]) == (WARN, "9 days old")


def test_doctor_when_a_check_breaks_then_that_is_a_finding() -> None:
    def some_check() -> list[Any]:
        raise RuntimeError("boom")

    (finding,) = examine([some_check])
    assert (finding.check, finding.state) == ("some check", BAD)
    assert "boom" in finding.says


@pytest.mark.parametrize(
    ("version", "safe"),
    [((3, 40, 1), False), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 44, 6), True),
     ((3, 44, 5), False), ((3, 50, 7), True), ((3, 53, 0), True)],
)  # fmt: skip
def test_sqlite_is_safe_from_the_releases_that_have_the_fix(
    version: tuple[int, ...], safe: bool
) -> None:
    assert ground.is_safe(version) is safe
