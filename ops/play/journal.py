"""What a trader has tapped and what became of it, as far as this program has heard."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from taptrading.client.shapes import Bet

_RANK: Final = {"accepted": 0, "confirmed": 1, "rejected": 2, "won": 2, "lost": 2, "void": 2}


@dataclass
class Tap:
    """One tap. Times are of the local monotonic clock."""

    number: int
    cell_id: str
    stake_micros: int
    rate_bps: int  # on the screen; the bet carries the locked one
    by: str  # the wallet, or its session key
    via: str  # http, or ws
    tapped_us: int
    accepted_us: int | None = None
    confirmed_us: int | None = None
    bet: Bet | None = None
    refused: str = ""

    @property
    def state(self) -> str:
        if self.refused:
            return self.refused
        return self.bet.status if self.bet is not None else "sending"

    @property
    def counts(self) -> bool:
        """It is a round, or still may become one."""
        return not self.refused and self.state != "rejected"

    @property
    def is_settled(self) -> bool:
        return bool(self.refused) or (self.bet is not None and self.bet.is_final)

    @property
    def accepted_ms(self) -> float | None:
        return _since_ms(self.tapped_us, self.accepted_us)

    @property
    def confirmed_ms(self) -> float | None:
        return _since_ms(self.tapped_us, self.confirmed_us)


def _since_ms(start_us: int, end_us: int | None) -> float | None:
    return None if end_us is None else (end_us - start_us) / 1_000


@dataclass
class Journal:
    taps: list[Tap] = field(default_factory=list)
    price_cents: int | None = None
    balance_micros: int | None = None
    _by_nonce: dict[str, Tap] = field(default_factory=dict)
    _cursor: int = -1

    def add(self, tap: Tap, nonce: str) -> None:
        self.taps.append(tap)
        self._by_nonce[nonce] = tap

    def note_bet(self, bet: Bet, now_us: int | None = None) -> Tap | None:
        """News of a bet, from whichever way comes first; late news changes nothing. `now_us` is
        given when it is fresh, so that it counts as a latency. The tap
        that it moved on, if it is one of this run's.
        """
        tap = self._by_nonce.get(bet.nonce)
        is_news = tap is not None and (tap.bet is None or _RANK[bet.status] > _RANK[tap.bet.status])
        if bet.balance_micros is not None and (bet.cursor is not None or is_news):
            self.note_balance(bet.balance_micros, bet.cursor)
        if tap is None or not is_news:
            return None
        tap.bet = bet
        if tap.via == "ws" and bet.status == "accepted":
            tap.accepted_us = now_us  # over the socket the event is the answer
        tap.refused = ""
        if bet.status == "confirmed":
            tap.confirmed_us = now_us
        return tap

    def note_balance(self, balance_micros: int, cursor: int | None = None) -> None:
        """Without a cursor (a reply that overtook its event) it stands until the next event."""
        if cursor is None:
            self.balance_micros = balance_micros
        elif cursor >= self._cursor:
            self.balance_micros, self._cursor = balance_micros, cursor

    def rounds(self) -> list[Tap]:
        return [tap for tap in self.taps if tap.counts]

    def unsettled(self) -> list[Tap]:
        return [tap for tap in self.taps if not tap.is_settled]

    def cells(self) -> set[str]:
        return {tap.cell_id for tap in self.taps}


def percentile(values: list[float], per_cent: int) -> float | None:
    """By nearest rank."""
    if not values:
        return None
    return sorted(values)[max(0, -(-len(values) * per_cent // 100) - 1)]


def known(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None]
