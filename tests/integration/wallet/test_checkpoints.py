"""The log of a real file is copied back beside its writer, and starts over."""

import sqlite3
import time
from pathlib import Path

import pytest
from django.conf import settings
from prometheus_client import REGISTRY

from wallet import checkpoints
from wallet.checkpoints import Checkpointer


def uncopied(database: sqlite3.Connection) -> int:
    _, pages, copied = database.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    return int(pages - copied)


@pytest.mark.django_db
@pytest.mark.parametrize(("early", "end"), [(20, 1_000), (1_000, 30)], ids=["early", "at the end"])
def test_log_is_copied_beside_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: int, end: int
) -> None:
    path = tmp_path / "ledger.sqlite3"
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", path)
    monkeypatch.setattr(checkpoints, "COPIED_AT_PAGES", early)
    monkeypatch.setattr(checkpoints, "END_PAGES", end)
    monkeypatch.setattr(checkpoints, "COPIED_AT_THE_END", 20)
    monkeypatch.setattr(checkpoints, "LOOK_S", 0.005)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("CREATE TABLE entry (text)")
    before = REGISTRY.get_sample_value("writer_checkpoint_seconds_count") or 0
    checkpointer = Checkpointer()
    checkpointer.start()
    try:
        writer.executemany("INSERT INTO entry VALUES (?)", [("x" * 4_000,)] * 50)
        deadline = time.monotonic() + 20
        while uncopied(writer) >= 20:
            assert time.monotonic() < deadline, "nothing was copied"
            time.sleep(0.005)
    finally:
        checkpointer.stop()
    assert (REGISTRY.get_sample_value("writer_checkpoint_seconds_count") or 0) > before
    left = REGISTRY.get_sample_value("writer_wal_uncopied_pages")
    assert left is not None
    assert left < 20
    writer.execute("INSERT INTO entry VALUES ('after')")
    assert writer.execute("SELECT count(*) FROM entry").fetchone() == (51,)
    writer.close()


@pytest.mark.django_db
def test_checkpointer_survives_a_file_that_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", tmp_path / "none.sqlite3")
    monkeypatch.setattr(checkpoints, "LOOK_S", 0.001)

    def broken(*_: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(checkpoints, "_log", broken)
    checkpointer = Checkpointer()
    checkpointer.start()
    deadline = time.monotonic() + 20
    while caplog.text.count("disk I/O error") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    checkpointer.stop()
