"""What a game is asked to do, and the refusals that do not end it."""

from typing import Final

import msgspec

# The cell is no good, another one may be; or the platform has no time for us at the moment.
PICK_AGAIN: Final = frozenset(
    {"rate_moved", "limit_reached", "cell_taken", "cell_locked", "cell_off_grid"}
)
LATER: Final = frozenset(
    {
        *("breaker_open", "price_stale", "overloaded", "dependency_unavailable", "rate_limited"),
        *("timestamp_expired", "timestamp_in_future", "unexpected_reply"),
    }
)


class PlayError(Exception):
    """The game cannot go on."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    rounds: int
    deposit_micros: int
    stake_micros: int
    seed: str
    patience_s: float = 180.0  # without any progress
    pace_s: float = 1.5
    quiet_s: float = 4.0  # without news, before bets are asked after

    @property
    def taps_max(self) -> int:
        return 3 * self.rounds + 20
