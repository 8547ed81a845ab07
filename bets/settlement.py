"""Settlement: one decision a column, stored before anyone is paid, and payment by that decision.

A worker may propose what it likes: the first proposal stored is the decision, and the writer
pays from the stored row, in bounded batches. Running any of it twice changes nothing.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from bets import counts
from bets.grid import column_of
from bets.liabilities import Liabilities
from bets.models import Bet, Settlement
from bets.resolution import ColumnDecision, deflate_evidence, touches
from bets.wire import FACTS, BetFacts, Facts
from pricefeed import recorder
from taptrading import clock, journal
from taptrading.errors import Broken, Refusal
from taptrading.limits import LIMITS
from taptrading.money import payout_micros
from wallet.book import Book
from wallet.events import Event, Told
from wallet.protocol import Command, Done, Outcome

_ID, _STATUS, _STAKE, _PAID = map(
    BetFacts._fields.index, ("id", "status", "stake_micros", "payout_micros")
)
_LOAD: Final = (
    f"SELECT wallet_id, house_id, {FACTS} FROM bets_bet"  # noqa: S608
    " WHERE column_start = %s AND taken_low_cents IS NOT NULL AND resolved_at IS NULL"
    " AND status = 'confirmed' ORDER BY id LIMIT %s"
)
_LOAD_DECISIONS: Final = (
    "SELECT column_start, reason, low_cents, high_cents FROM bets_settlement"
    " WHERE column_start IN (SELECT value FROM json_each(%s))"
)
_UPDATE: Final = (
    "UPDATE bets_bet SET status = %s, reason = %s, payout_micros = %s, resolved_at = %s,"
    " cursor = %s WHERE id = %s AND status = 'confirmed'"
)


class DecideColumn(Command, frozen=True, tag="decide_column"):
    """Store this decision unless the column has one; Done names the column either way."""

    column_start: int
    state: str
    reason: str
    open_cents: int | None
    low_cents: int | None
    high_cents: int | None
    close_cents: int | None
    ticks: int
    max_gap_ms: int | None
    sources: str
    ticks_sha256: str
    evidence: bytes


class Settled(msgspec.Struct, array_like=True, frozen=True, tag="settled"):
    """How many bets were resolved now; 0: none is left."""

    bets: int


class SettleBets(Command, frozen=True, tag="settle_bets"):
    """Resolve up to `at_once` confirmed bets of a decided column, `settle_batch` if it is 0."""

    outcomes: ClassVar[Any] = Settled | Refusal
    background: ClassVar[bool] = True
    column_start: int
    at_once: int = 0


def decide_command(decision: ColumnDecision) -> DecideColumn:
    return DecideColumn(
        column_start=decision.column_start,
        state=decision.state,
        reason=decision.reason,
        open_cents=decision.open_cents,
        low_cents=decision.low_cents,
        high_cents=decision.high_cents,
        close_cents=decision.close_cents,
        ticks=decision.ticks,
        max_gap_ms=decision.max_gap_ms,
        sources=decision.sources,
        ticks_sha256=decision.ticks_sha256,
        evidence=deflate_evidence(decision.evidence),
    )


class Decision(NamedTuple):
    """What payment goes by: the range of the path, or, without one, why there is none."""

    reason: str
    low_cents: int | None
    high_cents: int | None


class SettlementHandler:
    commands = (DecideColumn, SettleBets)

    def begin(self, commands: list[Command]) -> "SettlementWork":
        return SettlementWork(commands)

    def due(self, now_us: int) -> list[Command]:
        return []

    def largest_id(self) -> int:
        return 0


class SettlementWork:
    def __init__(self, commands: list[Command]) -> None:
        self._commands = commands

    def admit(self) -> None:
        """Nothing outside the database has a say."""

    def prefetch(self, book: Book) -> None:
        self._book = book
        self._new: list[Settlement] = []
        self._resolved: list[tuple[Any, ...]] = []
        self._told: list[Told] = []
        columns = {
            c.column_start for c in self._commands if isinstance(c, DecideColumn | SettleBets)
        }
        book.cursor.execute(_LOAD_DECISIONS, [msgspec.json.encode(list(columns)).decode()])
        self._decisions = {row[0]: Decision(*row[1:]) for row in book.cursor.fetchall()}
        self._bets = {
            c.column_start: self._confirmed(c.column_start, c.at_once or LIMITS.settle_batch)
            for c in self._commands
            if isinstance(c, SettleBets)
        }
        book.load({row[0] for rows in self._bets.values() for row in rows})
        self._liabilities = Liabilities(book)

    def _confirmed(self, column_start: int, at_once: int) -> list[tuple[Any, ...]]:
        self._book.cursor.execute(_LOAD, [column_start, min(at_once, LIMITS.settle_most)])
        rows: list[tuple[Any, ...]] = self._book.cursor.fetchall()
        return rows

    def decide(self, command: Command) -> Outcome:
        if isinstance(command, DecideColumn):
            return self._decide_column(command)
        assert isinstance(command, SettleBets)
        return self._settle(command)

    def _decide_column(self, command: DecideColumn) -> Outcome:
        if command.column_start not in self._decisions:
            fields = {name: getattr(command, name) for name in command.__struct_fields__}
            self._new.append(Settlement(**fields, decided_at=clock.from_us(self._book.now_us)))
            self._decisions[command.column_start] = Decision(
                command.reason, command.low_cents, command.high_cents
            )
        return Done(command.column_start)

    def _settle(self, command: SettleBets) -> Outcome:
        decision = self._decisions.get(command.column_start)
        if decision is None:
            return Refusal("not_found", {"column_start": command.column_start})
        rows, self._bets[command.column_start] = self._bets[command.column_start], []
        for row in rows:
            self._resolve(row, decision)
        return Settled(len(rows))

    def _resolve(self, row: tuple[Any, ...], decision: Decision) -> None:
        """Pay one bet by the stored decision."""
        wallet_id, house_id, bet_id, _, *cell, min_rate, rate_bps, _, nonce, at, priced, _, _ = row
        column_start, low_cents, high_cents, stake = cell
        account = self._book.account(wallet_id)
        potential = payout_micros(stake, rate_bps)
        account.open_stake_micros -= stake
        self._liabilities.release(column_start, low_cents, potential)
        if decision.low_cents is None or decision.high_cents is None:
            kind, status, reason, paid = "REFUND", "void", decision.reason, stake
        elif touches(decision.low_cents, decision.high_cents, low_cents, high_cents):
            kind, status, reason, paid = "PAYOUT", "won", "", potential
        else:
            kind, status, reason, paid = "", "lost", "", 0
        if paid:
            house = self._book.account(house_id)
            self._book.move(kind, house, account, paid, f"bet:{bet_id}")
        self._book.change(account)
        cursor, now_us = account.next_cursor(), self._book.now_us
        self._resolved.append((status, reason, paid, now_us, cursor, bet_id))
        facts: Facts = (
            *(bet_id, status, *cell, min_rate, rate_bps, paid, nonce, at, priced, now_us, reason),
        )
        self._told.append(Event(wallet_id, "bet.resolved", cursor, account.balance_micros, facts))

    def persist(self) -> None:
        Settlement.objects.bulk_create(self._new)
        if self._resolved:
            cursor = self._book.cursor
            cursor.executemany(_UPDATE, self._resolved)
            if cursor.rowcount != len(self._resolved):
                raise Broken("a bet was resolved outside the writer")
        self._liabilities.persist()

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        if not committed or not self._resolved:
            return []
        self._count()
        return [*self._told, self._liabilities.notice()]

    def _count(self) -> None:
        facts = [event.data for event in self._told if isinstance(event, Event)]
        counts.resolved((fact[_STATUS], fact[_STAKE], fact[_PAID]) for fact in facts)
        resolved = (f"{fact[_ID]} {fact[_STATUS]} {fact[_PAID]}" for fact in facts)
        journal.write_each("bets resolved", "bets", resolved)


def closed_columns(now_us: int) -> list[int]:
    """Columns that may be due: those with bets to resolve, and the recent ones undecided, but for
    those before the first tick ever: nobody asks for them."""
    end = column_of(now_us)
    back_s = 2 * LIMITS.recording_patience_ms // 1_000
    first_us = recorder.first_at_us()
    first = end if first_us is None else column_of(first_us)
    recent = range(max(first, column_of((end - back_s) * clock.US_PER_S)), end, LIMITS.column_s)
    decided = set(
        Settlement.objects.filter(column_start__in=recent).values_list("column_start", flat=True)
    )
    return sorted(set(_with_open_bets(end)) | (set(recent) - decided))


def overdue(now_us: int) -> list[int]:
    """Columns with open bets whose end is past by more than the patience with recordings: all of
    them should be resolved by now."""
    patient_us = LIMITS.recording_patience_ms * clock.US_PER_MS
    return list(_with_open_bets(column_of(now_us - patient_us)))


def lag_s(now_us: int) -> float:
    """How long ago the oldest column closed that has bets to resolve; 0: there is none."""
    columns = Bet.objects.open().order_by("column_start").values_list("column_start", flat=True)
    first = columns.first()
    if first is None:
        return 0.0
    return max(0.0, now_us / clock.US_PER_S - (first + LIMITS.column_s))


def _with_open_bets(end: int) -> Iterator[int]:
    """Columns before `end` with open bets: a look into the index for each, however many bets."""
    columns = Bet.objects.open().order_by("column_start").values_list("column_start", flat=True)
    last = -1
    while (
        found := columns.filter(column_start__gt=last, column_start__lt=end).first()
    ) is not None:
        yield found
        last = found
