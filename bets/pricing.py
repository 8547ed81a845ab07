"""Sealed pricing: an accepted bet is priced by the first index tick at or after its acceptance
plus `pricing_delay_ms`, which nobody had seen at the tap.

The ticks that count are the recorded ones, read from the database; a message only wakes us.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from django.db import connection

from bets import counts, rates
from bets.grid import Cell
from bets.liabilities import Liabilities
from bets.wire import FACTS, BetFacts, Facts
from pricefeed import recorder
from pricefeed.board import Board, TickRecord
from taptrading import clock, journal
from taptrading.errors import Broken
from taptrading.limits import LIMITS
from taptrading.money import payout_micros
from wallet.book import Account, Book
from wallet.events import Event, Told
from wallet.keys import Caps
from wallet.protocol import Command, Outcome

_CELL: Final = slice(2, 5)  # column_start, low_cents, high_cents of the facts
_STAKE: Final = BetFacts._fields.index("stake_micros")

# How often recorded ticks are looked for when no message announces one.
LOOK_US: Final = 50_000
TICKS_AT_ONCE: Final = 200

_WAITING: Final = (
    f"SELECT {FACTS}, wallet_id, house_id, session_key_id FROM bets_bet"  # noqa: S608
    " WHERE taken_low_cents IS NOT NULL AND resolved_at IS NULL AND status = 'accepted'"
    " ORDER BY column_start, id"  # as in the index: by id alone, the whole table would be walked
)
_CONFIRM: Final = (
    "UPDATE bets_bet SET status = 'confirmed', rate_bps = %s, pricing_tick = %s,"
    " confirmed_at = %s, cursor = %s WHERE id = %s AND status = 'accepted'"
)
_REJECT: Final = (
    "UPDATE bets_bet SET status = 'rejected', reason = %s, taken_low_cents = NULL,"
    " pricing_tick = %s, cursor = %s WHERE id = %s AND status = 'accepted'"
)


class PriceBets(Command, frozen=True, tag="price_bets"):
    """Price these bets, in order of acceptance. `ticks` holds each one's pricing tick by its
    place; None: there was none within `pricing_patience_ms`."""

    outcomes: ClassVar[Any] = int
    internal: ClassVar[bool] = True
    bets: list["Waiting"]
    ticks: list[TickRecord | None]


class Waiting(NamedTuple):
    """An accepted bet: all that pricing needs of it."""

    facts: Facts
    accepted_us: int
    wallet_id: int
    house_id: int
    key_id: int | None


class Unpriced:
    """The accepted bets that wait for their tick, oldest first.

    Memory of the writer process only, rebuilt from the database when it starts: a bet whose tick
    was recorded meanwhile is priced by that tick.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._bets: deque[Waiting] = deque(_waiting())
        self._looked_us = 0
        self.stakes_micros = _stakes(self._bets)

    def __len__(self) -> int:
        return len(self._bets)

    def add(self, bets: Sequence[Waiting]) -> None:
        self._bets.extend(bets)
        self.stakes_micros += _stakes(bets)

    def take_due(self, now_us: int) -> PriceBets | None:
        """The bets whose tick is known, or will not come any more, up to `price_batch`."""
        if not self._bets or not self._worth_a_look(now_us):
            return None
        self._looked_us = now_us
        recorded = recorder.ticks_since(self._bets[0].accepted_us + _delay_us(), TICKS_AT_ONCE)
        bets: list[Waiting] = []
        ticks: list[TickRecord | None] = []
        for tick in recorded:
            self._assign(tick, bets, ticks)
        if len(recorded) < TICKS_AT_ONCE:  # else there is more to read before anyone is given up
            while self._bets and len(bets) < LIMITS.price_batch and self._is_late(now_us):
                bets.append(self._bets.popleft())
                ticks.append(None)
        self.stakes_micros -= _stakes(bets)
        return PriceBets(bets, ticks) if bets else None

    def _worth_a_look(self, now_us: int) -> bool:
        """A tick for the oldest bet is announced, or may have been recorded unannounced."""
        due_us = self._bets[0].accepted_us + _delay_us()
        newest = self._board.tick
        if newest is not None and newest.at_ms * clock.US_PER_MS >= due_us:
            return True
        looked_lately = 0 <= now_us - self._looked_us < LOOK_US
        return self._is_late(now_us) or (now_us >= due_us and not looked_lately)

    def _is_late(self, now_us: int) -> bool:
        return self._bets[0].accepted_us + _patience_us() < now_us

    def _assign(
        self, tick: TickRecord, bets: list[Waiting], ticks: list[TickRecord | None]
    ) -> None:
        at_us = tick.at_ms * clock.US_PER_MS
        while self._bets and len(bets) < LIMITS.price_batch:
            accepted_us = self._bets[0].accepted_us
            if accepted_us + _delay_us() > at_us:
                return
            bets.append(self._bets.popleft())
            ticks.append(tick if at_us <= accepted_us + _patience_us() else None)

    def back(self, command: PriceBets) -> None:
        """Its batch was refused: price these bets again."""
        self._bets.extendleft(reversed(command.bets))
        self.stakes_micros += _stakes(command.bets)


def _stakes(bets: Iterable[Waiting]) -> int:
    return sum(bet.facts[_STAKE] for bet in bets)


def _waiting() -> list[Waiting]:
    """The stored bets that are still accepted, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        rows = [(BetFacts(*row[:-3]), row[-3:]) for row in cursor.fetchall()]
    rows.sort(key=lambda row: row[0].id)
    return [Waiting(facts, facts.accepted_at, *owners) for facts, owners in rows]


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
        self._confirmed: list[tuple[Any, ...]] = []
        self._rejected: list[tuple[Any, ...]] = []
        self._told: list[Told] = []
        bets = [bet for command in self._commands for bet in command.bets]
        book.load({bet.wallet_id for bet in bets})
        self._liabilities = Liabilities(book)
        self._caps = Caps(book, {bet.key_id for bet in bets if bet.key_id})
        # Stakes that the house may have to give back, which promise nobody else's payout.
        self._refundable_micros = self._unpriced.stakes_micros + _stakes(bets)

    def decide(self, command: Command) -> Outcome:
        """How many bets it priced."""
        assert isinstance(command, PriceBets)
        rates_bps = _quote(command)
        for bet, tick, rate_bps in zip(command.bets, command.ticks, rates_bps, strict=True):
            self._price(bet, tick, rate_bps)
        return len(command.bets)

    def _price(self, bet: Waiting, tick: TickRecord | None, rate_bps: int) -> None:
        _, _, column_start, low_cents, _, stake, min_rate_bps, *_ = bet.facts
        self._refundable_micros -= stake
        if tick is None:
            self._reject(bet, "price_stale", None)
        elif rate_bps == 0 or rate_bps < min_rate_bps:
            self._reject(bet, "rate_moved", tick)
        else:
            payout = payout_micros(stake, rate_bps)
            if self._liabilities.take(column_start, low_cents, payout, self._refundable_micros):
                self._confirm(bet, tick, rate_bps)
            else:
                self._reject(bet, "limit_reached", tick)

    def _confirm(self, bet: Waiting, tick: TickRecord, rate_bps: int) -> None:
        now_us = self._book.now_us
        account = self._book.account(bet.wallet_id)
        cursor = account.next_cursor()
        self._book.change(account)
        bet_id, _, *cell, _, _, nonce, accepted_us, _, _, _ = bet.facts
        self._confirmed.append((rate_bps, tick.seq, now_us, cursor, bet_id))
        facts = (bet_id, "confirmed", *cell, rate_bps, None, nonce, accepted_us, now_us, None, "")
        self._tell(account, "bet.confirmed", facts)

    def _reject(self, bet: Waiting, reason: str, tick: TickRecord | None) -> None:
        """Give the stake back, and the cell."""
        account = self._book.account(bet.wallet_id)
        house = self._book.account(bet.house_id)
        cursor = account.next_cursor()
        bet_id, _, *cell, nonce, accepted_us, _, _, _ = bet.facts
        stake = bet.facts[_STAKE]
        account.open_stake_micros -= stake
        self._book.move("REFUND", house, account, stake, f"bet:{bet_id}")
        if bet.key_id:
            self._caps.use(bet.key_id, -stake)
        self._rejected.append((reason, tick and tick.seq, cursor, bet_id))
        facts = (bet_id, "rejected", *cell, nonce, accepted_us, None, None, reason)
        self._tell(account, "bet.rejected", facts)

    def _tell(self, account: Account, name: str, facts: Facts) -> None:
        balance_micros = account.balance_micros
        self._told.append(Event(account.id, name, account.cursor, balance_micros, facts))

    def persist(self) -> None:
        for statement, rows in ((_CONFIRM, self._confirmed), (_REJECT, self._rejected)):
            if rows:
                self._book.cursor.executemany(statement, rows)
                if self._book.cursor.rowcount != len(rows):
                    raise Broken("a bet was priced outside the writer")
        self._liabilities.persist()
        self._caps.persist()

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        if not committed:
            for command in self._commands:
                self._unpriced.back(command)
            return []
        self._count()
        return [*self._told, self._liabilities.notice()] if self._told else []

    def _count(self) -> None:
        counts.priced(len(self._confirmed), [row[0] for row in self._rejected])
        confirmed = (f"{row[-1]} {row[0]} {row[1]}" for row in self._confirmed)
        journal.write_each("bets confirmed", "bets", confirmed)
        rejected = (f"{row[-1]} {row[0]}" for row in self._rejected)
        journal.write_each("bets rejected", "bets", rejected)


def _quote(command: PriceBets) -> list[int]:
    """Each bet's rate at its tick, all bets of one tick at once; 0 = not offered."""
    quoted = [0] * len(command.bets)
    by_tick: dict[int, tuple[TickRecord, list[int]]] = {}
    for place, tick in enumerate(command.ticks):
        if tick is not None:
            by_tick.setdefault(tick.seq, (tick, []))[1].append(place)
    for tick, places in by_tick.values():
        cells = [Cell(*command.bets[place].facts[_CELL]) for place in places]
        distinct = list(dict.fromkeys(cells))  # many bets share a cell: each is computed once
        rate_of = dict(zip(distinct, rates.cell_rates(distinct, tick), strict=True))
        for place, cell in zip(places, cells, strict=True):
            quoted[place] = rate_of[cell]
    return quoted
