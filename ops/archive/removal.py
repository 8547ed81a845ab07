"""Commands that take archived rows out of the database, and their handler in the writer.

A bet goes with all its entries, in one transaction: at any time each bet in the database has its
entries there, and each entry its bet. Few at once, in the lane of work that traders do not wait
for.
"""

from typing import Any, ClassVar, Final

import msgspec

from ops.integrity.sql import ONCE
from taptrading.errors import Refusal
from wallet.book import Book
from wallet.events import Told
from wallet.models import Segment
from wallet.protocol import Command, Outcome

_STATES: Final = "SELECT id, state, last_seal_id FROM wallet_segment"
_BETS: Final = (
    "SELECT id, status, stake_micros, session_key_id FROM bets_bet"
    " WHERE id IN (SELECT value FROM json_each(%s))"
)
_ENTRIES: Final = (
    f"FROM wallet_ledgerentry WHERE {ONCE} IN ('STAKE', 'PAYOUT')"  # noqa: S608
    " AND reference IN (SELECT 'bet:' || value FROM json_each(%s))"
)
_COUNT_ENTRIES: Final = f"SELECT count(*) {_ENTRIES}"
_DELETE_ENTRIES: Final = f"DELETE {_ENTRIES}"
_DELETE_BETS: Final = "DELETE FROM bets_bet WHERE id IN (SELECT value FROM json_each(%s))"
_KEY_USE: Final = (
    "UPDATE wallet_sessionkey SET archived_micros = archived_micros + %s WHERE id = %s"
)
_SEALS: Final = "SELECT id FROM wallet_seal WHERE id < %s ORDER BY id LIMIT %s"
_DELETE_SEALS: Final = "DELETE FROM wallet_seal WHERE id <= %s"
_ENTRIES_OF: Final = {"won": 2, "void": 2, "rejected": 2, "lost": 1}


class Removed(msgspec.Struct, array_like=True, frozen=True, tag="removed"):
    """How many rows of the command's table went; 0: they had gone before."""

    rows: int


class Kept(msgspec.Struct, array_like=True, frozen=True, tag="kept"):
    """Nothing was removed, because something is not as the archive takes it to be."""

    why: str


class RemoveBets(Command, frozen=True, tag="remove_archived_bets"):
    """Remove these bets and their entries; those that have gone already are no trouble."""

    outcomes: ClassVar[Any] = Removed | Kept | Refusal
    background: ClassVar[bool] = True
    segment_id: int
    bets: list[int]


class RemoveSeals(Command, frozen=True, tag="remove_archived_seals"):
    """Remove up to `at_once` seals below the segment's last, oldest first."""

    outcomes: ClassVar[Any] = Removed | Kept | Refusal
    background: ClassVar[bool] = True
    segment_id: int
    at_once: int


class Shrink(Command, frozen=True, tag="shrink_database"):
    """Give up to so many free pages back to the file system; Removed says how many went."""

    outcomes: ClassVar[Any] = Removed | Refusal
    background: ClassVar[bool] = True
    pages: int


class RemovalHandler:
    commands = (RemoveBets, RemoveSeals, Shrink)

    def begin(self, commands: list[Command]) -> "RemovalWork":
        return RemovalWork(commands)

    def due(self, now_us: int) -> list[Command]:
        return []

    def largest_id(self) -> int:
        return 0


class RemovalWork:
    def __init__(self, commands: list[Command]) -> None:
        self._commands = commands

    def admit(self) -> None:
        """Nothing outside the database has a say."""

    def prefetch(self, book: Book) -> None:
        self._cursor = book.cursor
        self._bets_gone: list[int] = []
        self._seals_gone = 0
        self._key_use: dict[int, int] = {}
        self._free_pages = 0
        self._cursor.execute(_STATES)
        self._segments = {row[0]: row[1:] for row in self._cursor.fetchall()}
        self._bets: dict[int, tuple[str, int, int | None]] = {}
        self._entries: dict[int, int] = {}
        self._seals: dict[int, list[int]] = {}
        for command in self._commands:
            if isinstance(command, RemoveBets):
                self._fetch_bets(command)
            elif isinstance(command, RemoveSeals):
                self._fetch_seals(command)
            elif isinstance(command, Shrink):
                self._shrink(command)

    def _fetch_bets(self, command: RemoveBets) -> None:
        named = [_json(command.bets)]
        self._cursor.execute(_BETS, named)
        self._bets |= {row[0]: row[1:] for row in self._cursor.fetchall()}
        self._cursor.execute(_COUNT_ENTRIES, named)
        self._entries[id(command)] = self._cursor.fetchone()[0]

    def _fetch_seals(self, command: RemoveSeals) -> None:
        _, last_seal_id = self._segments.get(command.segment_id, ("", 0))
        self._cursor.execute(_SEALS, [last_seal_id, command.at_once])
        self._seals[id(command)] = [row[0] for row in self._cursor.fetchall()]

    def decide(self, command: Command) -> Outcome:
        match command:
            case RemoveBets():
                return self._remove_bets(command)
            case RemoveSeals():
                return self._remove_seals(command)
            case _:
                return Removed(self._free_pages)

    def _remove_bets(self, command: RemoveBets) -> Outcome:
        if not self._is_verified(command.segment_id):
            return Kept("the segment is not verified")
        here = {bet_id: self._bets[bet_id] for bet_id in command.bets if bet_id in self._bets}
        if any(status not in _ENTRIES_OF for status, _, _ in here.values()):
            return Kept("a bet has not ended")
        needed = sum(_ENTRIES_OF[status] for status, _, _ in here.values())
        if self._entries[id(command)] != needed:
            return Kept(f"{self._entries[id(command)]} entries where bets need {needed}")
        for bet_id, (status, stake, key_id) in here.items():
            del self._bets[bet_id]
            if key_id is not None and status != "rejected":
                self._key_use[key_id] = self._key_use.get(key_id, 0) + stake
        self._bets_gone += here
        return Removed(len(here))

    def _remove_seals(self, command: RemoveSeals) -> Outcome:
        if not self._is_verified(command.segment_id):
            return Kept("the segment is not verified")
        found = self._seals[id(command)]
        self._seals_gone = max([self._seals_gone, *found])
        return Removed(len(found))

    def _is_verified(self, segment_id: int) -> bool:
        state, _ = self._segments.get(segment_id, ("", 0))
        return bool(state == Segment.State.VERIFIED)

    def _shrink(self, command: Shrink) -> None:
        """SQLite's own bookkeeping, which decides nothing."""
        before = self._pages()
        self._cursor.execute(f"PRAGMA incremental_vacuum({int(command.pages)})")
        self._cursor.fetchall()  # a page a step
        self._free_pages += before - self._pages()

    def _pages(self) -> int:
        self._cursor.execute("PRAGMA freelist_count")
        count: int = self._cursor.fetchone()[0]
        return count

    def persist(self) -> None:
        if self._bets_gone:
            named = [_json(self._bets_gone)]
            self._cursor.execute(_DELETE_ENTRIES, named)
            self._cursor.execute(_DELETE_BETS, named)
        if self._key_use:
            uses = [(stake, key_id) for key_id, stake in self._key_use.items()]
            self._cursor.executemany(_KEY_USE, uses)
        if self._seals_gone:
            self._cursor.execute(_DELETE_SEALS, [self._seals_gone])

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        return []


def _json(ids: list[int]) -> str:
    return msgspec.json.encode(ids).decode()
