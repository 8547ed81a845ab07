"""Backups of databases in files that somebody goes on writing to, and the way back from them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import httpx
import pysqlite3 as sqlite3
import pytest
from django.core.files.storage import storages
from django.core.management import call_command
from prometheus_client import REGISTRY

from ops import tasks
from ops.backup import copies, restore, run, status, store
from ops.backup.manifest import name_at
from ops.lock import FolderLock
from ops.turns import housekeeping
from taptrading import disk
from taptrading import settings as shipped_settings
from tests.benchmarks import history
from tests.fakes import ManualClock
from tests.integration.ops.test_verify_ledger import busy_writer
from tests.stack import ROOT, free_port

BETS = 2_000
BACKEND = "django.core.files.storage.FileSystemStorage"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a past."""
    folder = tmp_path_factory.mktemp("past")
    history.write(history.migrated(folder), BETS, history.some_addresses(50))
    return folder / "data"


@pytest.fixture
def data(past: Path, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which this process takes for its own, with backups in a folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    databases = {}
    for name in (copies.LEDGER, copies.TICKS):
        copies.copy(past / name, folder / name, lambda done: None)
        databases[name] = folder / name
    for database in databases.values():
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    monkeypatch.setattr(copies, "databases", lambda: databases)
    settings.DATA_DIR = settings.RUN_DIR = folder
    settings.WRITER_SOCKET = folder / "writer.sock"
    options = {"location": folder / "backups", "allow_overwrite": True}
    settings.STORAGES = settings.STORAGES | {
        "backups": {"BACKEND": BACKEND, "OPTIONS": options},
    }
    for name in [name for name in os.environ if name.startswith("COV")]:
        monkeypatch.delenv(name)
    return folder


def quiet(*_: Any) -> None:
    """Nobody watches."""


def said(command: str, *words: str) -> tuple[int, Any, str]:
    """Exit code, what the JSON says, and what was told on stderr."""
    out, errors = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(command, *words, "--json", stdout=out, stderr=errors)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue() or "null"), errors.getvalue()


def asked(database: Path, question: str) -> Any:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(question).fetchone()


# Taking them.


def test_backup_when_the_writer_is_busy_then_one_moment_of_it_that_adds_up(
    data: Path, tmp_path: Path
) -> None:
    ledger = data / copies.LEDGER
    newest = "SELECT max(id) FROM wallet_seal"
    with busy_writer(data):
        (before,) = asked(ledger, newest)
        code, told, _ = said("backup_db")
        (after,) = asked(ledger, newest)
    assert code == 0
    assert before <= told["facts"]["seals"] <= after
    assert told["facts"]["sum_micros"] == 0
    restored = restore.into(told["name"], tmp_path / "back", quiet)
    assert (restored.findings, restored.examples) == ({}, [])
    assert asked(tmp_path / "back" / copies.LEDGER, newest)[0] == told["facts"]["seals"]
    assert asked(tmp_path / "back" / copies.LEDGER, "SELECT count(*) FROM bets_bet") == (BETS,)


def test_backup_when_restored_then_the_file_still_gives_free_pages_back(
    data: Path, tmp_path: Path
) -> None:
    taken = run.take(quiet)
    restore.into(taken.name, tmp_path / "back", quiet)
    for name in (copies.LEDGER, copies.TICKS):
        assert asked(tmp_path / "back" / name, "PRAGMA auto_vacuum") == (2,)
        assert asked(data / name, "PRAGMA auto_vacuum") == (2,)


def test_backup_when_taken_then_metrics_tell_after_a_restart_too(data: Path) -> None:
    taken = run.take(quiet)
    tasks.tell_backups()
    sample = REGISTRY.get_sample_value
    assert sample("last_successful_backup_timestamp") == taken.taken_us / 1e6
    assert sample("backup_bytes") == taken.packed_bytes > 10_000
    assert sample("backup_seconds") == taken.took_s > 0


def test_backup_when_what_is_stored_is_not_what_was_written_then_one_and_no_backup(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = run.take(quiet)
    known = status.known()
    saved = store.save

    def save(name: str, key: str, path: Path) -> None:
        saved(name, key, path)
        file = data / "backups" / name / key
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    monkeypatch.setattr(store, "save", save)
    code, told, why = said("backup_db")
    assert (code, told) == (1, None)
    assert "not backed up: taptrading.sqlite3.zst: what is stored" in why
    assert store.newest() == taken.name
    assert status.known() == known
    assert not (data / "backup-work").exists()


def test_backup_when_the_disk_has_no_room_then_two_and_nothing_is_written(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: FullDisk)
    code, _, why = said("backup_db")
    assert code == 2
    assert "the disk has" in why
    assert said("backup_db", "--dry-run")[1]["fits"] is False
    assert not (data / "backups").exists()


class FullDisk:
    total, used, free = 100_000_000, 94_000_000, 6_000_000


def test_backup_when_one_is_being_taken_then_two(data: Path) -> None:
    other = FolderLock(data / "backup.lock")
    other.take()
    code, _, why = said("backup_db")
    other.release()
    assert (code, why) == (2, "could not run: another backup is being taken\n")


def test_backup_when_the_database_is_a_servers_then_two_and_what_to_use(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def databases() -> dict[str, Path]:
        raise copies.NotSqlite("use its own tools")

    monkeypatch.setattr(copies, "databases", databases)
    assert said("backup_db")[::2] == (2, "could not run: use its own tools\n")
    assert said("restore_db", "--in-place")[0] == 2


def test_databases_then_the_ledger_is_copied_first() -> None:
    assert list(copies.databases()) == ["taptrading.sqlite3", "prices.sqlite3"]


def test_backups_when_there_are_many_then_those_that_need_not_stay_go(
    data: Path, now: ManualClock
) -> None:
    first = run.take(quiet)
    cut_short = name_at(now.us - 1)
    (data / "backups" / cut_short).mkdir()
    (data / "backups" / cut_short / "taptrading.sqlite3.zst").write_bytes(b"half")
    (data / "backups" / "a-folder-of-somebody").mkdir()
    now.advance(3_600)
    second = run.take(quiet)
    assert store.names() == [second.name, first.name, cut_short]
    now.advance(49 * 3_600)
    third = run.take(quiet)
    assert store.names() == [third.name, second.name]  # one a day
    now.advance(400 * 86_400)
    assert run.let_go() == []  # a month's newest each: November and its January
    assert (data / "backups" / "a-folder-of-somebody").is_dir()
    _, listed, _ = said("backup_db", "--list")
    assert [one["name"] for one in listed] == [third.name, second.name]


def test_long_work_when_another_is_under_way_then_comes_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def run(*words: str) -> bool:
        done.append(words[0])
        return True

    monkeypatch.setattr(tasks.process, "run", run)

    class Later(Exception):
        """Asked to be called again."""

    class Task:
        def retry(self, **_: int) -> Exception:
            return Later()

    with housekeeping.taken(Task()):
        for task in (tasks.backup, tasks.archive, tasks.restore_drill, tasks.verify_ledger):
            with pytest.raises(Exception, match=r"[Rr]etr"):
                task()
        assert done == []
        assert tasks.restore_segment("2025-W48") is True
    assert tasks.backup() is True
    assert tasks.restore_drill() is True
    assert done == ["restore_segment", "backup_db", "restore_db"]


# In a bucket.


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen(
        [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        client = httpx.Client(transport=httpx.HTTPTransport(retries=8))
        client.get(url)
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3: str, data: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    client.create_bucket(Bucket="kept")
    for name, value in (("S3_BUCKET", "kept"), ("S3_ENDPOINT_URL", s3)):
        monkeypatch.setattr(shipped_settings, name, value)
        setattr(settings, name, value)
    settings.STORAGES = settings.STORAGES | {
        "backups": shipped_settings._kept_in("backups", "STANDARD")
    }
    yield client
    for one in client.list_objects_v2(Bucket="kept").get("Contents", []):
        client.delete_object(Bucket="kept", Key=one["Key"])


def test_backup_when_kept_in_a_bucket_then_it_comes_back_from_there(
    bucket: Any, data: Path, tmp_path: Path, now: ManualClock
) -> None:
    code, told, _ = said("backup_db")
    assert code == 0
    keys = {one["Key"] for one in bucket.list_objects_v2(Bucket="kept")["Contents"]}
    files = ("taptrading.sqlite3.zst", "prices.sqlite3.zst", "manifest.json")
    assert keys == {f"backups/{told['name']}/{file}" for file in files}
    assert not (data / "backups").exists()
    restored = restore.into(store.newest(), tmp_path / "back", quiet)
    assert restored.clean
    now.advance(60)
    run.take(quiet)
    store.remove(told["name"])
    assert len(store.names()) == 1
    assert store.names() != [told["name"]]


def test_lifecycle_then_the_bucket_takes_the_rules_and_no_object_in_use_expires(
    bucket: Any,
) -> None:
    rules = json.loads((ROOT / "deploy" / "s3" / "lifecycle.json").read_text())
    bucket.put_bucket_lifecycle_configuration(Bucket="kept", LifecycleConfiguration=rules)
    taken = bucket.get_bucket_lifecycle_configuration(Bucket="kept")["Rules"]
    classes = {
        rule["Filter"]["Prefix"]: rule["Transitions"][0]["StorageClass"]
        for rule in taken
        if "Transitions" in rule
    }
    assert classes == {"archive/": "STANDARD_IA", "backups/": "STANDARD_IA"}
    assert not any("Expiration" in rule for rule in taken)


def test_backup_when_the_bucket_is_away_then_two(
    bucket: Any, data: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: Any = storages.backends["backups"]
    gone = {**kept["OPTIONS"], "bucket_name": "nobody-made-it"}
    settings.STORAGES = settings.STORAGES | {"backups": {**kept, "OPTIONS": gone}}
    code, _, why = said("backup_db")
    assert code == 2
    assert "could not run" in why


# Bringing them back.


@pytest.mark.django_db
def test_drill_when_the_backup_is_sound_then_how_long_it_takes_and_what_would_be_lost(
    data: Path, now: ManualClock
) -> None:
    taken = run.take(quiet)
    now.advance(1_800)
    code, told, _ = said("restore_db", "--drill")
    assert (code, told["backup"], told["clean"]) == (0, taken.name, True)
    assert told["rpo_s"] == 1_800
    assert told["rto_s"] >= told["fetched_s"] + told["checked_s"] > 0
    # The test's own database, which is asked what is newer, has no seal at all.
    assert told["seals_since"] == -taken.facts["seals"]
    assert not (data / "restore-drill").exists()
    status.tell()
    drilled = REGISTRY.get_sample_value("last_successful_restore_drill_timestamp")
    assert drilled == now.us / 1e6
    assert (REGISTRY.get_sample_value("restore_drill_seconds") or 0) > 0


def test_drill_when_it_would_take_the_room_that_bets_need_then_two(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = run.take(quiet)
    full = disk.Room(95 * 10**9, 5 * 10**9 + taken.raw_bytes)
    monkeypatch.setattr(disk, "room_in", lambda folder: full)
    code, _, why = said("restore_db", "--drill")
    assert code == 2
    assert "a trial needs" in why
    assert not (data / "restore-drill").exists()


@pytest.mark.django_db
def test_drill_when_the_ledger_in_it_does_not_add_up_then_one_and_the_finding(
    data: Path, now: ManualClock
) -> None:
    with closing(sqlite3.connect(data / copies.LEDGER)) as database:
        database.execute("UPDATE wallet_wallet SET balance_micros = balance_micros + 1 WHERE id=3")
        database.commit()
    run.take(quiet)
    code, told, _ = said("restore_db", "--drill")
    assert (code, told["clean"]) == (1, False)
    assert told["findings"]["sum_is_zero"] == 1
    assert "drilled_at" not in status.known()


def test_restore_when_a_stored_file_was_changed_then_one_and_nothing_in_its_place(
    data: Path, tmp_path: Path
) -> None:
    taken = run.take(quiet)
    file = data / "backups" / taken.name / "taptrading.sqlite3.zst"
    file.write_bytes(file.read_bytes()[:-7])
    code, _, why = said("restore_db", "--into", str(tmp_path / "back"))
    assert code == 1
    assert "not restored: taptrading.sqlite3.zst" in why
    assert not (tmp_path / "back" / copies.LEDGER).exists()


def test_restore_when_there_is_no_such_backup_or_no_room_for_it_then_two(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said("restore_db", "--into", str(tmp_path / "back"))[0] == 2
    taken = run.take(quiet)
    for name in ("20200101T000000.000Z", "../../etc", "yesterday"):
        code, _, why = said("restore_db", name, "--into", str(tmp_path / "back"))
        assert (code, why) == (2, f"could not run: no backup {name}\n")
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / copies.TICKS).write_bytes(b"")
    assert "is there already" in said("restore_db", "--into", str(occupied))[2]
    _, told, _ = said("restore_db", taken.name, "--dry-run")
    assert told["seals"] == taken.facts["seals"]
    monkeypatch.setattr(restore.shutil, "disk_usage", lambda path: FullDisk)
    monkeypatch.setattr(FullDisk, "free", 2 * taken.raw_bytes - 1)
    assert "are needed" in said("restore_db", "--into", str(tmp_path / "back"))[2]


def spend(database: Path) -> int:
    """Something that happens after the backup; the number of bets there are then."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE wallet_wallet SET cursor = cursor + 1 WHERE id = 3")
        connection.commit()
        return int(connection.execute("SELECT cursor FROM wallet_wallet WHERE id=3").fetchone()[0])


def cursor_of(database: Path) -> int:
    return int(asked(database, "SELECT cursor FROM wallet_wallet WHERE id = 3")[0])


def test_restore_in_place_then_the_backup_is_there_and_what_was_there_is_kept(data: Path) -> None:
    run.take(quiet)
    before = cursor_of(data / copies.LEDGER)
    writing = sqlite3.connect(data / copies.LEDGER)  # leaves its log behind, as one that is killed
    after = spend(data / copies.LEDGER)
    writing.close()
    code, told, why = said("restore_db", "--in-place")
    assert (code, told["clean"]) == (0, True), why
    assert cursor_of(data / copies.LEDGER) == before
    assert cursor_of(Path(told["where"]) / copies.LEDGER) == after
    assert not list(data.glob("restore-2*"))
    assert not restore.marker().exists()


def test_restore_in_place_when_somebody_has_the_databases_open_then_two(data: Path) -> None:
    run.take(quiet)
    lock = FolderLock(data / "platform.lock")
    lock.take()
    assert said("restore_db", "--in-place")[::2] == (
        2,
        "could not run: the platform runs: stop it first\n",
    )
    lock.release()
    with busy_writer(data):
        code, _, why = said("restore_db", "--in-place")
    assert code == 2
    assert "these processes have the databases open" in why
    FolderLock(data / "platform.lock").take()


def test_restore_in_place_when_the_backup_does_not_add_up_then_one_and_nothing_changes(
    data: Path,
) -> None:
    (data / "replaced").mkdir()
    with closing(sqlite3.connect(data / copies.LEDGER)) as database:
        database.execute("UPDATE wallet_wallet SET balance_micros = balance_micros + 1 WHERE id=3")
        database.commit()
    run.take(quiet)
    after = spend(data / copies.LEDGER)
    code, told, _ = said("restore_db", "--in-place")
    assert (code, told["clean"]) == (1, False)
    assert cursor_of(data / copies.LEDGER) == after
    assert (Path(told["where"]) / copies.LEDGER).exists()


@pytest.mark.parametrize("calls", [1, 2])
def test_restore_in_place_when_killed_amid_the_exchange_then_nothing_starts_until_it_is_repeated(
    data: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    run.take(quiet)
    before = cursor_of(data / copies.LEDGER)
    after = spend(data / copies.LEDGER)
    replace, left = os.replace, [calls]

    class Killed(BaseException):
        """Nothing after this is done."""

    def replace_or_die(source: Any, target: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        replace(source, target)

    restore.make_sure_it_is_whole()
    with monkeypatch.context() as patched:
        patched.setattr(restore.os, "replace", replace_or_die)
        with pytest.raises(Killed):
            restore.in_place(store.newest(), quiet)
    with pytest.raises(restore.CutShort):
        restore.make_sure_it_is_whole()
    (kept,) = data.glob("replaced-*")
    assert cursor_of(kept / copies.LEDGER) == after
    _, where = restore.in_place(store.newest(), quiet)
    restore.make_sure_it_is_whole()
    assert cursor_of(data / copies.LEDGER) == before
    assert where != kept


def test_restore_after_the_writer_was_killed_then_all_that_was_backed_up_is_there(
    data: Path, tmp_path: Path
) -> None:
    with busy_writer(data):
        taken = run.take(quiet)
    restored = restore.into(taken.name, tmp_path / "back", quiet)
    assert restored.clean
    assert not list((tmp_path / "back").glob("*.part"))
