"""Settlement: one decision a column, stored before anyone is paid, and payment by that decision.

A worker may propose what it likes: the first proposal stored is the decision, and the writer
pays from the stored row, in bounded batches. Running any of it twice changes nothing.
"""

from typing import Any, ClassVar, Final

import msgspec

from bets.liabilities import Liabilities
from bets.models import Bet, Settlement
from bets.resolution import ColumnDecision, deflate_evidence, touches
from bets.wire import COLUMNS, BetRow
from taptrading import clock
from taptrading.errors import Broken, Refusal
from taptrading.limits import LIMITS
from taptrading.money import payout_micros
from wallet.book import Book
from wallet.events import Event, Told
from wallet.protocol import Command, Done, Outcome

_LOAD: Final = (
    f"SELECT {COLUMNS} FROM bets_bet"  # noqa: S608
    " WHERE column_start = %s AND status = 'confirmed' ORDER BY id LIMIT %s"
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
    """Resolve up to `settle_batch` confirmed bets of a decided column."""

    outcomes: ClassVar[Any] = Settled | Refusal
    column_start: int


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
        self._resolved: list[BetRow] = []
        self._balances: dict[int, int] = {}
        columns = {
            c.column_start for c in self._commands if isinstance(c, DecideColumn | SettleBets)
        }
        self._decisions = Settlement.objects.in_bulk(columns)
        self._bets = {
            c.column_start: self._confirmed(c.column_start)
            for c in self._commands
            if isinstance(c, SettleBets)
        }
        book.load({row.wallet_id for rows in self._bets.values() for row in rows})
        self._liabilities = Liabilities(book)

    def _confirmed(self, column_start: int) -> list[BetRow]:
        self._book.cursor.execute(_LOAD, [column_start, LIMITS.settle_batch])
        return [BetRow(*row) for row in self._book.cursor.fetchall()]

    def decide(self, command: Command) -> Outcome:
        if isinstance(command, DecideColumn):
            return self._decide_column(command)
        assert isinstance(command, SettleBets)
        return self._settle(command)

    def _decide_column(self, command: DecideColumn) -> Outcome:
        if command.column_start not in self._decisions:
            fields = {name: getattr(command, name) for name in command.__struct_fields__}
            decision = Settlement(**fields, decided_at=clock.from_us(self._book.now_us))
            self._decisions[command.column_start] = decision
            self._new.append(decision)
        return Done(command.column_start)

    def _settle(self, command: SettleBets) -> Outcome:
        decision = self._decisions.get(command.column_start)
        if decision is None:
            return Refusal("not_found", {"column_start": command.column_start})
        rows, self._bets[command.column_start] = self._bets[command.column_start], []
        for row in rows:
            self._resolve(row, decision)
        return Settled(len(rows))

    def _resolve(self, row: BetRow, decision: Settlement) -> None:
        """Pay one bet by the stored decision."""
        assert row.rate_bps is not None
        account = self._book.account(row.wallet_id)
        house = self._book.account(row.house_id)
        potential = payout_micros(row.stake_micros, row.rate_bps)
        account.open_stake_micros -= row.stake_micros
        self._liabilities.add(row.column_start, row.low_cents, -potential)
        if decision.low_cents is None or decision.high_cents is None:
            status, reason, paid = "void", decision.reason, row.stake_micros
            self._book.move("REFUND", house, account, paid, f"bet:{row.id}")
        elif touches(decision.low_cents, decision.high_cents, row.low_cents, row.high_cents):
            status, reason, paid = "won", "", potential
            self._book.move("PAYOUT", house, account, paid, f"bet:{row.id}")
        else:
            status, reason, paid = "lost", "", 0
        self._book.change(account)
        self._balances[row.id] = account.balance_micros
        self._resolved.append(
            row._replace(
                status=status,
                reason=reason,
                payout_micros=paid,
                resolved_at=self._book.now_us,
                cursor=account.next_cursor(),
            )
        )

    def persist(self) -> None:
        Settlement.objects.bulk_create(self._new)
        if self._resolved:
            cursor = self._book.cursor
            cursor.executemany(
                _UPDATE,
                [
                    (r.status, r.reason, r.payout_micros, r.resolved_at, r.cursor, r.id)
                    for r in self._resolved
                ],
            )
            if cursor.rowcount != len(self._resolved):
                raise Broken("a bet was resolved outside the writer")
        self._liabilities.persist()

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        if not committed or not self._resolved:
            return []
        told: list[Told] = [
            Event(row.wallet_id, "bet.resolved", row.cursor, self._balances[row.id], row.facts)
            for row in self._resolved
        ]
        return [*told, self._liabilities.notice()]


def closed_columns(now_us: int) -> list[int]:
    """Columns that may be due: those with bets to resolve, and the recent ones undecided."""
    end = (now_us // clock.US_PER_S) // LIMITS.column_s * LIMITS.column_s
    with_bets = Bet.objects.filter(
        status=Bet.Status.CONFIRMED, column_start__lte=end - LIMITS.column_s
    )
    back_s = 2 * LIMITS.recording_patience_ms // 1_000
    recent = range(end - back_s // LIMITS.column_s * LIMITS.column_s, end, LIMITS.column_s)
    decided = set(
        Settlement.objects.filter(column_start__in=recent).values_list("column_start", flat=True)
    )
    owing = set(with_bets.order_by().values_list("column_start", flat=True).distinct())
    return sorted(owing | (set(recent) - decided))
