"""Which cell to tap next: near and likely ones by turns with far and unlikely ones (pure)."""

from collections.abc import Iterator, Set
from random import Random
from typing import Final, NamedTuple

from taptrading.client.shapes import Config, GridUpdate
from taptrading.money import BPS

LIKELY_BPS: Final = (12_000, 20_000)
UNLIKELY_BPS: Final = (20_000, 40_000)
SOON_COLUMNS: Final = 4
MARGIN_US: Final = 1_500_000  # a tap on its way must not meet a locked column


class Choice(NamedTuple):
    cell_id: str
    rate_bps: int

    @property
    def min_rate_bps(self) -> int:
        """A quarter below the screen's rate: about one tap in thirty comes back."""
        return max(BPS, self.rate_bps * 3 // 4)


def choose(
    grid: GridUpdate,
    config: Config,
    *,
    now_us: int,
    stake_micros: int,
    avoid: Set[str],
    likely: bool,
    rng: Random,
) -> Choice | None:
    """One of the cells with a rate as wished, else the one that comes closest; None: no cell."""
    low_bps, high_bps = LIKELY_BPS if likely else UNLIKELY_BPS
    choices = [c for c in _open_cells(grid, config, now_us, stake_micros) if c.cell_id not in avoid]
    wished = [choice for choice in choices if low_bps <= choice.rate_bps <= high_bps]
    if wished:
        return rng.choice(wished)
    return min(
        choices,
        key=lambda c: max(low_bps - c.rate_bps, c.rate_bps - high_bps),
        default=None,
    )


def _open_cells(
    grid: GridUpdate, config: Config, now_us: int, stake_micros: int
) -> Iterator[Choice]:
    """Cells of the columns that are soon to come and still open for a while, with room."""
    before_us = (config.locked_columns - 1) * config.column_s * 1_000_000 + MARGIN_US
    rows = zip(grid.column_starts, grid.rates_bps, grid.room_micros, strict=True)
    soon = [row for row in rows if row[0] * 1_000_000 - before_us >= now_us][:SOON_COLUMNS]
    for column_start, rates_bps, rooms_micros in soon:
        for low_cents, rate_bps, room_micros in zip(
            grid.lows_cents, rates_bps, rooms_micros, strict=True
        ):
            if rate_bps and room_micros is not None and room_micros >= stake_micros:
                high_cents = low_cents + config.band_cents
                yield Choice(f"{column_start}_{low_cents}_{high_cents}", rate_bps)
