"""What the platform answers, as types. Fields that a later platform adds are ignored.

Money in micros, prices in cents, rates in bps: integers. Times are aware datetimes.
"""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

RESOLVED: Final = ("won", "lost", "void")
FINAL: Final = (*RESOLVED, "rejected")


class Config(msgspec.Struct, frozen=True):
    domain: str
    chain_id: int
    version: int
    presets_micros: list[int]
    column_s: int
    band_cents: int
    columns: int
    bands: int
    locked_columns: int
    edge_bps: int
    index_hz: int
    pricing_delay_ms: int
    rate_max_bps: int
    demo: bool


class Status(msgspec.Struct, frozen=True):
    breaker: Literal["closed", "degraded", "open"]
    override: Literal["auto", "open", "close"]
    reason: str
    price_age_ms: int | None
    server_time: datetime


class Price(msgspec.Struct, frozen=True):
    price_cents: int
    at: datetime
    seq: int
    age_ms: int


class PriceBar(msgspec.Struct, frozen=True):
    at: datetime
    open_cents: int
    low_cents: int
    high_cents: int
    close_cents: int


class GridCell(msgspec.Struct, frozen=True):
    cell_id: str
    rate_bps: int
    room_micros: int


class Grid(msgspec.Struct, frozen=True):
    quoted_at: datetime | None
    price_cents: int | None
    cells: list[GridCell]


class GridUpdate(msgspec.Struct, frozen=True):
    """The grid as the WebSocket sends it: a row a column, lows ascending, None = no bet."""

    quoted_at: datetime | None
    price_cents: int | None
    column_starts: list[int]
    lows_cents: list[int]
    rates_bps: list[list[int | None]]
    room_micros: list[list[int | None]]


class Settlement(msgspec.Struct, frozen=True):
    column_start: int
    state: Literal["open", "settled", "void"]
    open_cents: int | None
    low_cents: int | None
    high_cents: int | None
    close_cents: int | None
    ticks: int | None
    max_gap_ms: int | None
    sources: Any
    ticks_sha256: str | None
    reason: str | None


class SignInNonce(msgspec.Struct, frozen=True):
    nonce: str
    expires_at: datetime


class Session(msgspec.Struct, frozen=True):
    token: str
    expires_at: datetime
    wallet: str


class Wallet(msgspec.Struct, frozen=True):
    address: str
    balance_micros: int
    held_micros: int
    open_stake_micros: int
    frozen: bool


class LedgerEntry(msgspec.Struct, frozen=True):
    """`amount_micros` is signed: this wallet's side of the movement."""

    entry_id: str
    kind: str
    reference: str
    amount_micros: int
    balance_after_micros: int
    created_at: datetime


class Deposit(msgspec.Struct, frozen=True):
    deposit_id: str
    status: Literal["pending", "completed", "failed"]
    amount_micros: int
    created_at: datetime


class Withdrawal(msgspec.Struct, frozen=True):
    withdrawal_id: str
    status: Literal["held", "approved", "sent", "completed", "rejected", "failed", "cancelled"]
    amount_micros: int
    to_address: str
    created_at: datetime


class SessionKey(msgspec.Struct, frozen=True):
    key_id: str
    wallet: str
    key: str
    label: str
    expires_at: int | datetime
    max_stake_micros: int
    max_total_micros: int
    used_micros: int
    revoked_at: datetime | None


class Bet(msgspec.Struct, frozen=True):
    """`cursor` and `balance_micros` come with events and with the reply to a placed bet."""

    bet_id: str
    status: Literal["accepted", "confirmed", "rejected", "won", "lost", "void"]
    cell_id: str
    stake_micros: int
    min_rate_bps: int
    rate_bps: int | None
    potential_payout_micros: int | None
    payout_micros: int | None
    nonce: str
    accepted_at: datetime
    confirmed_at: datetime | None
    resolved_at: datetime | None
    reason: str | None
    cursor: int | None = None
    balance_micros: int | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def cell(self) -> tuple[int, int, int]:
        """column_start, low_cents, high_cents"""
        column_start, low_cents, high_cents = map(int, self.cell_id.split("_"))
        return column_start, low_cents, high_cents


class BatchResult(msgspec.Struct, frozen=True):
    """One bet of a batch: the bet, or why it was refused."""

    status: int
    bet: Bet | None = None
    error: str = ""
    message: str = ""
    detail: dict[str, Any] = {}


class Check(msgspec.Struct, frozen=True):
    ok: bool
    rate_bps: int | None = None
    error: str | None = None
    detail: dict[str, Any] | None = None


class Snapshot(msgspec.Struct, frozen=True):
    balance_micros: int
    open: list[Bet]
    missed: list[Bet]
    cursor: int
