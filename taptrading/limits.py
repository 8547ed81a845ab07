"""Every rule of the game and every bound of the house, unit last, with its default.

Each may be set from the environment as TAP_<NAME>, for example TAP_BET_RATE_PER_S=100.
Relations between them are checked when the module loads: a platform that contradicts itself
does not start. Imports no Django.
"""

import os
from dataclasses import dataclass, fields, replace
from typing import Final, Self

MIB: Final = 1024 * 1024


class LimitsError(ValueError):
    """A bound in the environment is not a number, or contradicts another one."""


@dataclass(frozen=True, slots=True)
class Limits:
    # The game.
    column_s: int = 5
    band_cents: int = 1_000
    columns: int = 12
    bands_below: int = 12
    bands_above: int = 12
    locked_columns: int = 2
    index_hz: int = 10
    edge_bps: int = 300
    rate_min_bps: int = 10_100
    rate_max_bps: int = 200_000
    pricing_delay_ms: int = 250
    pricing_patience_ms: int = 2_000
    quote_age_ms: int = 1_000
    grid_memory_ms: int = 2_000
    gap_ms: int = 2_000
    recording_patience_ms: int = 60_000
    warmup_ms: int = 60_000

    # Who may do how much. Shares are of the house wallet, in millionths.
    bet_rate_per_s: int = 10
    bet_burst: int = 20
    address_rate_per_s: int = 20_000
    address_burst: int = 40_000
    bet_liability_ppm: int = 5_000
    cell_liability_ppm: int = 10_000
    column_liability_ppm: int = 100_000
    open_liability_ppm: int = 1_000_000
    deposit_max_micros: int = 1_000_000_000_000
    withdrawal_approval_micros: int = 10_000_000_000
    withdrawal_new_address_s: int = 86_400
    session_keys_per_wallet: int = 20

    # What players may set for themselves: how long a raise waits, how long they may stay away.
    player_raise_wait_s: int = 86_400
    player_cool_off_max_s: int = 42 * 86_400
    player_exclusion_min_s: int = 180 * 86_400
    player_exclusion_max_s: int = 10 * 366 * 86_400

    # Signed requests and sessions.
    signature_past_s: int = 30
    signature_future_s: int = 5
    nonce_ttl_s: int = 90
    signin_nonce_s: int = 300
    signin_per_minute: int = 120
    session_s: int = 86_400
    custody_skew_s: int = 300

    # Requests.
    body_bytes: int = 16 * 1024
    batch_body_bytes: int = 256 * 1024
    batch_bets: int = 20
    page_default: int = 50
    page_max: int = 200

    # Queues and batches.
    entry_queue: int = 10_000
    writer_queue: int = 40_000
    writer_batch: int = 500
    writer_batch_ms: int = 3_000
    settle_batch: int = 250
    settle_most: int = 1_000
    price_batch: int = 2_000
    frame_bytes: int = 16 * MIB

    # Price in.
    source_stale_ms: int = 1_000
    source_outlier_bps: int = 50
    source_message_bytes: int = 1 * MIB
    source_queue: int = 10_000
    breaker_degraded_ms: int = 3_000
    breaker_open_ms: int = 10_000
    breaker_recovery_ms: int = 30_000
    override_redis_s: int = 900
    tick_retention_s: int = 7 * 86_400

    # Sockets.
    sockets_per_process: int = 10_000
    sockets_per_address: int = 10_000
    socket_frame_bytes: int = 64 * 1024
    socket_queue_frames: int = 256
    snapshot_bets: int = 1_000
    heartbeat_s: int = 5

    # History that goes to the archive: when, how much of it at once, how long it stays at hand.
    archive_after_s: int = 7 * 86_400
    archive_early_s: int = 86_400  # while the disk is too full
    segment_entries: int = 5_000_000
    segment_local_s: int = 28 * 86_400
    archive_batch: int = 500

    # Backups: all of so many hours stay, then the newest of so many days, then of so many months.
    backup_keep_hours: int = 48
    backup_keep_days: int = 30
    backup_keep_months: int = 12

    # How full the data folder's disk may be, in percent: from where on it is said, room is made,
    # and no bet is taken, so that those taken can be settled.
    disk_warn_pct: int = 70
    disk_clean_pct: int = 85
    disk_refuse_pct: int = 95
    disk_keep_free_bytes: int = 256 * MIB

    # Memory of a process.
    wallet_cache: int = 200_000

    @property
    def bands(self) -> int:
        return self.bands_below + self.bands_above

    @property
    def tick_ms(self) -> int:
        return 1_000 // self.index_hz

    @classmethod
    def from_environment(cls, environment: "os._Environ[str] | dict[str, str]") -> Self:
        """Defaults, overridden by TAP_<NAME>. Raises LimitsError."""
        found: dict[str, int] = {}
        for field in fields(cls):
            text = environment.get(f"TAP_{field.name.upper()}")
            if text is None:
                continue
            try:
                found[field.name] = int(text)
            except ValueError:
                raise LimitsError(f"TAP_{field.name.upper()}={text!r} is not an integer") from None
        limits = replace(cls(), **found)
        limits.check()
        return limits

    def check(self) -> None:
        """Raises LimitsError, naming every relation that does not hold."""
        relations = {
            "every bound is zero or more": all(getattr(self, f.name) >= 0 for f in fields(self)),
            "index_hz divides 1000": self.index_hz > 0 and 1_000 % self.index_hz == 0,
            "a column is at least a second": self.column_s >= 1,
            "some columns are open": self.columns >= self.locked_columns,
            "rate_min_bps < rate_max_bps": 10_000 < self.rate_min_bps < self.rate_max_bps,
            "pricing_delay_ms < pricing_patience_ms": (
                self.pricing_delay_ms < self.pricing_patience_ms
            ),
            "an accepted bet is priced before its column starts": (
                self.pricing_patience_ms < (self.locked_columns - 1) * self.column_s * 1_000
            ),
            "a nonce outlives the signature's window": (
                self.nonce_ttl_s > self.signature_past_s + self.signature_future_s
            ),
            "one bet <= cell <= column <= all open": (
                self.bet_liability_ppm
                <= self.cell_liability_ppm
                <= self.column_liability_ppm
                <= self.open_liability_ppm
                <= 1_000_000
            ),
            "breaker degrades before it opens": self.breaker_degraded_ms < self.breaker_open_ms,
            "quotes go stale before the breaker opens": self.quote_age_ms < self.breaker_open_ms,
            "a batch fits the queue": self.writer_batch <= self.entry_queue <= self.writer_queue,
            "an hour at least stays out of the archive": (
                min(self.archive_early_s, self.archive_after_s) >= 3_600
            ),
            "the archive goes forward": self.segment_entries >= 1 and self.archive_batch >= 1,
            "the disk is full last of all": (
                self.disk_warn_pct < self.disk_clean_pct < self.disk_refuse_pct <= 100
            ),
            "page_default <= page_max": 1 <= self.page_default <= self.page_max,
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise LimitsError("these do not hold: " + "; ".join(broken))


PRESETS_MICROS: Final = tuple(usdc * 1_000_000 for usdc in (1, 5, 10, 25, 50, 100))

LIMITS: Final = Limits.from_environment(os.environ)
