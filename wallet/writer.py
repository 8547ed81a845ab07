"""The one that moves money: a batch of commands in, one transaction, outcomes out.

A batch is three steps for each handler: prefetch what it needs, decide in plain code that does
no I/O and is handed its time, persist. The writer knows handlers, not bets.
"""

import logging
import time
from collections.abc import Sequence
from typing import Final, Protocol

from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from prometheus_client import Counter, Histogram

from taptrading import clock, journal
from taptrading.errors import Broken, Refusal
from taptrading.limits import LIMITS
from wallet.book import Book
from wallet.events import Told
from wallet.ids import HOUSE, IdMint
from wallet.protocol import Command, Outcome

log = logging.getLogger(__name__)

BATCH_SIZE = Histogram(
    "writer_batch_size", "Commands in a batch", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
FLUSH_SECONDS = Histogram(
    "writer_flush_seconds",
    "Time from the start of a batch to its commit",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 3),
)
BUSY = Counter("writer_busy_total", "Times the database was locked by another process")
REFUSED = Counter("writer_batches_refused_total", "Batches refused whole", ["why"])
for _why in ("constraint", "database"):
    REFUSED.labels(_why)  # there from the start: the first one is an increase too

_RETRY_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class CommitInDoubt(Broken):
    """COMMIT failed, and may have taken place all the same: only a new start can tell."""


class Work(Protocol):
    """One handler's part of one batch."""

    def admit(self) -> None:
        """Before the transaction: what Redis must say. Called once."""

    def prefetch(self, book: Book) -> None:
        """Read all that the decisions need. Called again, from scratch, if the batch is retried."""

    def decide(self, command: Command) -> Outcome:
        """Pure: the outcome, with money moved in the book if it is not a refusal."""

    def persist(self) -> None:
        """Write the handler's own rows."""

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        """After the transaction: what to remember, what to tell."""


class Handler(Protocol):
    """Carries out the kinds of commands it names."""

    @property
    def commands(self) -> Sequence[type[Command]]: ...

    def begin(self, commands: list[Command]) -> Work: ...

    def due(self, now_us: int) -> list[Command]:
        """Commands that the passing of time or a new tick makes necessary."""

    def largest_id(self) -> int:
        """The largest id that its tables hold: the writer's sequence goes on above it."""


class Writer:
    """Runs batches, one at a time, in one thread."""

    def __init__(self, handlers: Sequence[Handler], *, node: int = 0, house_id: int = HOUSE):
        self.handlers = handlers
        self._by_kind = {kind: handler for handler in handlers for kind in handler.commands}
        largest = max(handler.largest_id() for handler in handlers)
        self._ids = IdMint(node, max(largest, _largest_own_id()))
        self._house_id = house_id
        self._last_us = 0

    @property
    def kinds(self) -> list[type[Command]]:
        """What may come in over the socket."""
        return [kind for kind in self._by_kind if not kind.internal]

    def run(
        self, commands: list[Command], patience_s: float = LIMITS.writer_batch_ms / 1_000
    ) -> tuple[list[Outcome], list[Told]]:
        """Carry out a batch: outcomes in the order of the commands, events to publish.

        A batch that cannot be committed within `patience_s` is refused whole. Raises
        CommitInDoubt when nobody can say whether it was committed.
        """
        started = time.monotonic()
        works = self._begin(commands)
        try:
            outcomes = self._commit(commands, works, started + patience_s)
        except (IntegrityError, DataError, OverflowError) as error:
            if len(commands) > 1:
                return self._run_one_by_one(commands, works)
            log.error("refused by the database: %s: %s", type(commands[0]).__name__, error)
            outcomes = self._refuse(commands, "constraint")
            committed = False
        except OperationalError as error:
            log.error("batch of %d refused: %s", len(commands), error)
            outcomes = self._refuse(commands, "database")
            committed = False
        else:
            committed = True
        BATCH_SIZE.observe(len(commands))
        took_s = time.monotonic() - started
        FLUSH_SECONDS.observe(took_s)
        if committed and journal.wanted():
            _write_journal(self._book, len(commands), took_s)
        return outcomes, _finish(works, outcomes, committed)

    def _begin(self, commands: list[Command]) -> list[tuple[Work, list[int]]]:
        """Each handler's work with the positions of its commands, admitted."""
        positions: dict[int, list[int]] = {}
        for position, command in enumerate(commands):
            positions.setdefault(id(self._by_kind[type(command)]), []).append(position)
        works = []
        for handler in self.handlers:
            mine = positions.get(id(handler))
            if mine:
                work = handler.begin([commands[position] for position in mine])
                work.admit()
                works.append((work, mine))
        return works

    def _commit(
        self, commands: list[Command], works: list[tuple[Work, list[int]]], deadline: float
    ) -> list[Outcome]:
        delays = iter(_RETRY_S)
        while True:
            try:
                return self._transact(commands, works)
            except OperationalError as error:
                if not _locked(error) or time.monotonic() > deadline:
                    raise
                BUSY.inc()
                time.sleep(next(delays, _RETRY_S[-1]))

    def _transact(
        self, commands: list[Command], works: list[tuple[Work, list[int]]]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = [None] * len(commands)
        committing = False
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                book = self._book = Book(cursor, self._ids, self._now_us(), self._house_id)
                for work, _ in works:
                    work.prefetch(book)
                book.now_us = self._now_us()  # decisions take their time after the reads
                for work, positions in works:
                    for position in positions:
                        outcomes[position] = work.decide(commands[position])
                for work, _ in works:
                    work.persist()
                book.persist()
                committing = True
        except OperationalError as error:
            if committing and not (_locked(error) or _full(error)):
                raise CommitInDoubt(f"COMMIT failed: {error}") from error
            raise
        return outcomes

    def _now_us(self) -> int:
        """The time of a batch never lies before that of the one before it, whatever the clock
        does: bets are priced in the order of their acceptance."""
        self._last_us = max(self._last_us, clock.now_us())
        return self._last_us

    def _run_one_by_one(
        self, commands: list[Command], works: list[tuple[Work, list[int]]]
    ) -> tuple[list[Outcome], list[Told]]:
        """The database will not have one of them: let it find which."""
        _finish(works, [Refusal("dependency_unavailable")] * len(commands), False)
        outcomes, events = [], []
        for command in commands:
            (outcome,), told = self.run([command])
            outcomes.append(outcome)
            events += told
        return outcomes, events

    def _refuse(self, commands: list[Command], why: str) -> list[Outcome]:
        REFUSED.labels(why).inc()
        return [Refusal("dependency_unavailable") for _ in commands]

    def due(self, now_us: int) -> list[list[Command]]:
        """Batches that handlers want to run now, each of one handler."""
        return [batch for handler in self.handlers if (batch := handler.due(now_us))]


def _write_journal(book: Book, commands: int, took_s: float) -> None:
    """What the ledger has of a batch. Bets have lines of their own."""
    if book.entries:
        others = (e for e in book.entries if not e.reference.startswith("bet:"))
        journal.write(
            "committed",
            seal=book.seal_number,
            first_entry=str(book.entries[0].id),
            last_entry=str(book.entries[-1].id),
            entries=len(book.entries),
            commands=commands,
            took_ms=round(took_s * 1_000, 1),
            moved=[f"{entry.id} {entry.kind} {entry.reference}" for entry in others],
        )


def _finish(
    works: list[tuple[Work, list[int]]], outcomes: list[Outcome], committed: bool
) -> list[Told]:
    events: list[Told] = []
    for work, positions in works:
        events += work.finish([outcomes[position] for position in positions], committed)
    return events


def _locked(error: OperationalError) -> bool:
    return "locked" in str(error) or "busy" in str(error)


def _full(error: OperationalError) -> bool:
    """A write that found no room. SQLite writes the mark of a commit last, so there is none."""
    return "is full" in str(error)


def _largest_own_id() -> int:
    """Of wallets and entries, archived ones too: the seal that ends a segment is always kept."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(last_entry_id) FROM wallet_seal")
        sealed: int = cursor.fetchone()[0] or 0
    return max(sealed, largest_id("wallet_wallet", "wallet_ledgerentry"))


def largest_id(*tables: str) -> int:
    """The largest id in these tables."""
    largest = 0
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT max(id) FROM {table}")  # noqa: S608
            largest = max(largest, cursor.fetchone()[0] or 0)
    return largest
