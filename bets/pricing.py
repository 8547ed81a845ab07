"""Sealed pricing: an accepted bet is priced by the first index tick at or after its acceptance
plus `pricing_delay_ms`, which nobody had seen at the tap.

The ticks that count are the recorded ones, read from the database; a message only wakes us.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar, Final

import msgspec

from bets import rates
from bets.grid import Cell
from bets.liabilities import Liabilities
from bets.models import Bet
from bets.wire import COLUMNS, BetRow
from pricefeed import recorder
from pricefeed.board import Board, TickRecord
from taptrading import clock
from taptrading.errors import Broken
from taptrading.limits import LIMITS
from taptrading.money import payout_micros
from wallet.book import Book
from wallet.events import Event, Told
from wallet.keys import Caps
from wallet.protocol import Command, Outcome

# How often recorded ticks are looked for when no message announces one.
LOOK_US: Final = 50_000
TICKS_AT_ONCE: Final = 200

_LOAD: Final = (
    f"SELECT {COLUMNS} FROM bets_bet"  # noqa: S608
    " WHERE id IN (SELECT value FROM json_each(%s)) ORDER BY id"
)
_UPDATE: Final = (
    "UPDATE bets_bet SET status = %s, reason = %s, rate_bps = %s, pricing_tick = %s,"
    " confirmed_at = %s, cursor = %s WHERE id = %s AND status = 'accepted'"
)


class PriceBets(Command, frozen=True, tag="price_bets"):
    """Price these bets, in order of acceptance. `ticks` holds each one's pricing tick by its
    place; None: there was none within `pricing_patience_ms`."""

    outcomes: ClassVar[Any] = int
    internal: ClassVar[bool] = True
    bets: list[tuple[int, int]]  # id, accepted_at in microseconds
    ticks: list[TickRecord | None]

    @property
    def bet_ids(self) -> list[int]:
        return [bet_id for bet_id, _ in self.bets]


class Unpriced:
    """The accepted bets that wait for their tick, oldest first.

    Memory of the writer process only, rebuilt from the database when it starts: a bet whose tick
    was recorded meanwhile is priced by that tick.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        accepted = Bet.objects.filter(status=Bet.Status.ACCEPTED).order_by("id")
        self._bets: deque[tuple[int, int]] = deque(
            (pk, clock.to_us(at)) for pk, at in accepted.values_list("id", "accepted_at")
        )
        self._looked_us = 0

    def __len__(self) -> int:
        return len(self._bets)

    def add(self, rows: Iterable[BetRow]) -> None:
        self._bets.extend((row.id, row.accepted_at) for row in rows)

    def take_due(self, now_us: int) -> PriceBets | None:
        """The bets whose tick is known, or will not come any more, up to `price_batch`."""
        if not self._bets or not self._worth_a_look(now_us):
            return None
        self._looked_us = now_us
        recorded = recorder.ticks_since(self._bets[0][1] + _delay_us(), TICKS_AT_ONCE)
        bets: list[tuple[int, int]] = []
        ticks: list[TickRecord | None] = []
        for tick in recorded:
            self._assign(tick, bets, ticks)
        if len(recorded) < TICKS_AT_ONCE:  # else there is more to read before anyone is given up
            while self._bets and len(bets) < LIMITS.price_batch and self._is_late(now_us):
                bets.append(self._bets.popleft())
                ticks.append(None)
        return PriceBets(bets, ticks) if bets else None

    def _worth_a_look(self, now_us: int) -> bool:
        """A tick for the oldest bet is announced, or may have been recorded unannounced."""
        due_us = self._bets[0][1] + _delay_us()
        newest = self._board.tick
        if newest is not None and newest.at_ms * clock.US_PER_MS >= due_us:
            return True
        looked_lately = 0 <= now_us - self._looked_us < LOOK_US
        return self._is_late(now_us) or (now_us >= due_us and not looked_lately)

    def _is_late(self, now_us: int) -> bool:
        return self._bets[0][1] + _patience_us() < now_us

    def _assign(
        self, tick: TickRecord, bets: list[tuple[int, int]], ticks: list[TickRecord | None]
    ) -> None:
        at_us = tick.at_ms * clock.US_PER_MS
        while self._bets and len(bets) < LIMITS.price_batch:
            accepted_us = self._bets[0][1]
            if accepted_us + _delay_us() > at_us:
                return
            bets.append(self._bets.popleft())
            ticks.append(tick if at_us <= accepted_us + _patience_us() else None)

    def back(self, command: PriceBets) -> None:
        """Its batch was refused: price these bets again."""
        self._bets.extendleft(reversed(command.bets))


def _delay_us() -> int:
    return LIMITS.pricing_delay_ms * clock.US_PER_MS


def _patience_us() -> int:
    return LIMITS.pricing_patience_ms * clock.US_PER_MS


class PricingHandler:
    commands = (PriceBets,)

    def __init__(self, unpriced: Unpriced) -> None:
        self._unpriced = unpriced

    def begin(self, commands: list[Command]) -> "PricingWork":
        return PricingWork([c for c in commands if isinstance(c, PriceBets)], self._unpriced)

    def due(self, now_us: int) -> list[Command]:
        command = self._unpriced.take_due(now_us)
        return [] if command is None else [command]

    def largest_id(self) -> int:
        return 0


class PricingWork:
    def __init__(self, commands: list[PriceBets], unpriced: Unpriced) -> None:
        self._commands = commands
        self._unpriced = unpriced

    def admit(self) -> None:
        """Nothing outside the database has a say."""

    def prefetch(self, book: Book) -> None:
        self._book = book
        self._priced: list[BetRow] = []
        self._balances: dict[int, int] = {}
        ids = [bet_id for command in self._commands for bet_id in command.bet_ids]
        book.cursor.execute(_LOAD, [msgspec.json.encode(ids).decode()])
        rows = [BetRow(*row) for row in book.cursor.fetchall()]
        self._rows = {row.id: row for row in rows}
        book.load({row.wallet_id for row in self._rows.values()})
        self._liabilities = Liabilities(book)
        keys = {row.session_key_id for row in self._rows.values() if row.session_key_id}
        self._caps = Caps(book, keys)

    def decide(self, command: Command) -> Outcome:
        """How many bets it priced."""
        assert isinstance(command, PriceBets)
        quoted = self._quote(command)
        for bet_id, tick in zip(command.bet_ids, command.ticks, strict=True):
            row = self._rows[bet_id]
            if row.status == Bet.Status.ACCEPTED:
                self._price(row, tick, quoted.get(bet_id, 0))
        return len(command.bet_ids)

    def _quote(self, command: PriceBets) -> dict[int, int]:
        """Each bet's rate at its tick, all bets of one tick at once; 0 = not offered."""
        by_tick: dict[int, tuple[TickRecord, list[int]]] = {}
        for bet_id, tick in zip(command.bet_ids, command.ticks, strict=True):
            if tick is not None:
                by_tick.setdefault(tick.seq, (tick, []))[1].append(bet_id)
        quoted: dict[int, int] = {}
        for tick, ids in by_tick.values():
            cells = [_cell(self._rows[bet_id]) for bet_id in ids]
            quoted.update(zip(ids, rates.cell_rates(cells, tick), strict=True))
        return quoted

    def _price(self, row: BetRow, tick: TickRecord | None, rate_bps: int) -> None:
        if tick is None:
            self._reject(row, "price_stale", None)
        elif rate_bps == 0 or rate_bps < row.min_rate_bps:
            self._reject(row, "rate_moved", tick)
        else:
            payout = payout_micros(row.stake_micros, rate_bps)
            if payout > self._liabilities.room_micros(row.column_start, row.low_cents):
                self._reject(row, "limit_reached", tick)
            else:
                self._confirm(row, tick, rate_bps, payout)

    def _confirm(self, row: BetRow, tick: TickRecord, rate_bps: int, payout: int) -> None:
        self._liabilities.add(row.column_start, row.low_cents, payout)
        self._done(
            row,
            status="confirmed",
            rate_bps=rate_bps,
            pricing_tick=tick.seq,
            confirmed_at=self._book.now_us,
        )

    def _reject(self, row: BetRow, reason: str, tick: TickRecord | None) -> None:
        account = self._book.account(row.wallet_id)
        house = self._book.account(row.house_id)
        account.open_stake_micros -= row.stake_micros
        self._book.move("REFUND", house, account, row.stake_micros, f"bet:{row.id}")
        if row.session_key_id:
            self._caps.use(row.session_key_id, -row.stake_micros)
        self._done(row, status="rejected", reason=reason, pricing_tick=tick and tick.seq)

    def _done(self, row: BetRow, **changes: Any) -> None:
        account = self._book.account(row.wallet_id)
        priced = row._replace(cursor=account.next_cursor(), **changes)
        self._book.change(account)
        self._rows[row.id] = priced
        self._balances[row.id] = account.balance_micros
        self._priced.append(priced)

    def persist(self) -> None:
        cursor = self._book.cursor
        if self._priced:
            cursor.executemany(
                _UPDATE,
                [
                    (r.status, r.reason, r.rate_bps, r.pricing_tick, r.confirmed_at, r.cursor, r.id)
                    for r in self._priced
                ],
            )
            if cursor.rowcount != len(self._priced):
                raise Broken("a bet was priced outside the writer")
        self._liabilities.persist()
        self._caps.persist()

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        if not committed:
            for command in self._commands:
                self._unpriced.back(command)
            return []
        told: list[Told] = [
            Event(row.wallet_id, f"bet.{row.status}", row.cursor, self._balances[row.id], row.facts)
            for row in self._priced
        ]
        return [*told, self._liabilities.notice()] if told else []


def _cell(row: BetRow) -> Cell:
    return Cell(row.column_start, row.low_cents, row.high_cents)
