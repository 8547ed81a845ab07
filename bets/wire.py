"""A bet as facts and as JSON: one form for REST, sockets, receipts and the writer."""

from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from bets.models import Bet
from taptrading import clock
from taptrading.money import payout_micros


class BetFacts(NamedTuple):
    """What the contract says of a bet, in the order of FACTS; times in microseconds, nonce as 32
    digits.

    It travels between processes as an array of these values: who shows it makes it readable. The
    writer makes plain tuples of this form, one a change: `Facts`.
    """

    id: int
    status: str
    column_start: int
    low_cents: int
    high_cents: int
    stake_micros: int
    min_rate_bps: int
    rate_bps: int | None
    payout_micros: int | None
    nonce: str
    accepted_at: int
    confirmed_at: int | None
    resolved_at: int | None
    reason: str

    def json(self) -> dict[str, Any]:
        """`bet` of the contract."""
        potential = self.rate_bps and payout_micros(self.stake_micros, self.rate_bps)
        return {
            "bet_id": str(self.id),
            "status": self.status,
            "cell_id": f"{self.column_start}_{self.low_cents}_{self.high_cents}",
            "stake_micros": self.stake_micros,
            "min_rate_bps": self.min_rate_bps,
            "rate_bps": self.rate_bps,
            "potential_payout_micros": potential,
            "payout_micros": self.payout_micros,
            "nonce": hyphenated(self.nonce),
            "accepted_at": iso(self.accepted_at),
            "confirmed_at": None if self.confirmed_at is None else iso(self.confirmed_at),
            "resolved_at": None if self.resolved_at is None else iso(self.resolved_at),
            "reason": self.reason or None,
        }


Facts = tuple[Any, ...]
FACTS: Final = ", ".join(BetFacts._fields)  # the columns

# Times of a batch are all the same: the text of one serves its neighbours.
iso: Final = lru_cache(maxsize=256)(clock.iso_ms)


def hyphenated(digits: str) -> str:
    """32 hex digits -> the UUID's canonical text."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def bet_json(bet: Bet) -> dict[str, Any]:
    """`bet` of the contract, of a model."""
    values = {name: getattr(bet, name) for name in BetFacts._fields}
    for name in ("accepted_at", "confirmed_at", "resolved_at"):
        if values[name] is not None:
            values[name] = clock.to_us(values[name])
    nonce: UUID = values["nonce"]
    values["nonce"] = nonce.hex
    return BetFacts(**values).json()
