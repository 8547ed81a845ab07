"""What comes before what: BEGIN, reads, COMMIT on disk, replies and news."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.db.backends.sqlite3.base import DatabaseWrapper

from bets.models import Bet
from pricefeed.board import Board
from taptrading.errors import Refusal
from tests import factories
from tests.factories import place_command
from tests.fakes import InProcessLink, ManualClock
from tests.servers import short_folder
from wallet import checkpoints
from wallet.checkpoints import Checkpointer
from wallet.link import Link
from wallet.models import Wallet
from wallet.protocol import Done, Outcome
from wallet.server import WriterServer
from wallet.transfers import OpenWallet, TransferWork

OWNER = "0x" + "ab" * 20
FULL = 2  # PRAGMA synchronous


def may_write() -> bool:
    """Whether another process could begin to write now."""
    name = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name, uri=True, timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            return False
        other.execute("ROLLBACK")
        return True


@pytest.mark.django_db(transaction=True)
def test_batch_when_it_reads_then_nobody_else_can_write(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefetch, seen = TransferWork.prefetch, []

    def watched(work: TransferWork, book: Any) -> None:
        seen.append(may_write())
        prefetch(work, book)
        seen.append(may_write())

    monkeypatch.setattr(TransferWork, "prefetch", watched)
    assert may_write()
    writer.call(OpenWallet(OWNER))
    assert seen == [False, False]
    assert may_write()


@contextmanager
def disk_full_at_commit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fails(_: object) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        # Of the class: a loop's connection is another one than its thread's.
        patched.setattr(DatabaseWrapper, "_commit", fails)
        yield


async def ask(writer: InProcessLink, command: Any) -> Outcome:
    """The outcome as it comes over the writer's socket."""

    async def publish(kind: str, payload: bytes) -> None:
        """Nobody listens."""

    with short_folder() as folder:
        server = WriterServer(writer.writer, folder / "writer.sock", publish)
        task = asyncio.create_task(server.serve())
        link = Link(str(folder / "writer.sock"))
        link.start()
        async with asyncio.timeout(10):
            while not link.connected:
                await asyncio.sleep(0.001)
            outcome: Outcome = await link.call(command)
            await link.stop()
            server.stop()
            await task
    return outcome


@pytest.mark.django_db(transaction=True)
def test_reply_when_the_commit_fails_then_refused(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk_full_at_commit(monkeypatch):
        assert asyncio.run(ask(writer, OpenWallet(OWNER))) == Refusal("dependency_unavailable")
    assert not Wallet.objects.filter(address=OWNER).exists()


@pytest.mark.django_db(transaction=True)
def test_reply_when_committed_then_what_was_done(writer: InProcessLink) -> None:
    outcome = asyncio.run(ask(writer, OpenWallet(OWNER)))
    assert outcome == Done(Wallet.objects.get(address=OWNER).pk)


def test_bet_when_its_batch_is_not_committed_then_nobody_is_told_and_it_is_not_priced(
    writer: InProcessLink,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factories.funded_house(writer)
    factories.tick(feed_board)
    player = factories.funded_wallet(writer)
    writer.told.clear()

    def disk_full(_: object) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("wallet.book.Book.persist", disk_full)
        writer.call(place_command(player))
    assert writer.told == []
    assert Bet.objects.count() == 0
    now.advance(0.3)
    factories.tick(feed_board)
    assert writer.writer.due(now.us) == []


@pytest.mark.django_db
def test_connection_when_opened_then_each_commit_is_synced_to_disk(tmp_path: Path) -> None:
    """On a file of its own: the tests' databases have no disk to speak of."""
    real = connection.copy("real")
    real.settings_dict["NAME"] = tmp_path / "ledger.sqlite3"
    with closing(real), real.cursor() as cursor:
        assert cursor.execute("PRAGMA synchronous").fetchone() == (FULL,)
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.django_db
def test_checkpoint_when_it_copies_then_it_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int]] = []
    looked = threading.Event()

    def look(database: sqlite3.Connection, _: str) -> tuple[int, int]:
        seen.append(database.execute("PRAGMA synchronous").fetchone())
        looked.set()
        return 0, 0

    monkeypatch.setitem(settings.DATABASES["default"], "NAME", tmp_path / "ledger.sqlite3")
    monkeypatch.setattr(checkpoints, "LOOK_S", 0.001)
    monkeypatch.setattr(checkpoints, "_log", look)
    checkpointer = Checkpointer()
    checkpointer.start()
    assert looked.wait(10)
    checkpointer.stop()
    assert set(seen) == {(FULL,)}
