"""A bet as rows and as the contract's JSON: one form for REST, sockets, receipts and the writer."""

from typing import Any, Final, NamedTuple
from uuid import UUID

from bets.models import Bet
from taptrading import clock
from taptrading.money import payout_micros


class BetRow(NamedTuple):
    """One row of bets_bet in the order of COLUMNS; times in microseconds, nonce as 32 digits."""

    id: int
    wallet_id: int
    house_id: int
    session_key_id: int | None
    column_start: int
    low_cents: int
    high_cents: int
    stake_micros: int
    min_rate_bps: int
    nonce: str
    timestamp: int
    signature: bytes
    status: str
    reason: str
    rate_bps: int | None
    pricing_tick: int | None
    payout_micros: int | None
    cursor: int
    accepted_at: int
    confirmed_at: int | None
    resolved_at: int | None

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
            "accepted_at": clock.iso_ms(self.accepted_at),
            "confirmed_at": _iso(self.confirmed_at),
            "resolved_at": _iso(self.resolved_at),
            "reason": self.reason or None,
        }


COLUMNS: Final = ", ".join(BetRow._fields)


def hyphenated(digits: str) -> str:
    """32 hex digits -> the UUID's canonical text."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def bet_json(bet: Bet) -> dict[str, Any]:
    """`bet` of the contract, of a model."""
    values = {name: getattr(bet, name) for name in BetRow._fields}
    for name in ("accepted_at", "confirmed_at", "resolved_at"):
        if values[name] is not None:
            values[name] = clock.to_us(values[name])
    nonce: UUID = values["nonce"]
    values["nonce"] = nonce.hex
    return BetRow(**values).json()


def _iso(us: int | None) -> str | None:
    return None if us is None else clock.iso_ms(us)
