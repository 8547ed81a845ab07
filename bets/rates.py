"""The chance that the settled path touches a band, and the reward rate it earns (pure).

The one module that prices. Settlement sees the index at 10 Hz with straight lines between the
ticks, so that is what is priced. A cell alone and the same cell within a grid go through the
same element-wise arithmetic: their rates are the same integers. No clock, no history, no I/O.

The formula is Broadie, Glasserman and Kou's shift for a barrier watched at intervals (1997),
with the exact value at the edge after Sparre Andersen, and the measured overshoot of the index.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bets.grid import Cell
from taptrading.limits import LIMITS, Limits
from taptrading.money import BPS

YEAR_S: Final = 365 * 86_400
# -zeta(1/2) / sqrt(2 pi): how far beyond an edge a watched Gaussian walk is found, in steps.
SHIFT: Final = 0.5826
SHIFT_AT_EDGE: Final = 0.1245  # 1 / sqrt(2) - 0.5826
# Below, the noise of the estimate turns into gifts; above, the rate hardly exceeds the stake.
PROBABILITY_MIN: Final = 0.0485
PROBABILITY_MAX: Final = 0.96

Floats = NDArray[np.float64]

_ROOT_2PI: Final = math.sqrt(2 * math.pi)


class Quoted(Protocol):
    """What a tick record keeps so that its rates can be recomputed for ever."""

    @property
    def at_ms(self) -> int: ...
    @property
    def price_cents(self) -> int: ...
    @property
    def sigma_ppm(self) -> int: ...
    @property
    def overshoot_e12(self) -> int: ...


@cache
def quadrature(inner_ticks: int) -> tuple[Floats, Floats]:
    """24 nodes, in tick-deviations outside the edge, and their weights (Gauss-Legendre).

    6 on each of [0, 2], [2, 8], [8, 24], [24, 60] for a column of 50 ticks or fewer; the two
    outer ones grow with the root of a longer column, as the chance to come back does.
    """
    reach = max(1.0, math.sqrt(inner_ticks / 50))
    ends = (0.0, 2.0, 8.0, 24.0 * reach, 60.0 * reach)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    return (
        np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in pairwise(ends)]),
        np.concatenate([(b - a) / 2 * weights for a, b in pairwise(ends)]),
    )


def tick_deviation(sigma_ppm: int, limits: Limits = LIMITS) -> float:
    """The standard deviation of the log price over one tick: v of the formula."""
    return sigma_ppm / 1e6 * math.sqrt(1 / limits.index_hz / YEAR_S)


def return_chances(outside: Floats, overshoot: float, deviation: float, inner_ticks: int) -> Floats:
    """g(y): the chance to come back to the edge within the column from y tick-deviations away."""
    shift = max(SHIFT, overshoot / deviation)
    beta = shift + SHIFT_AT_EDGE * np.exp(-2.8 * outside) - 0.128 * outside / inner_ticks
    chances: Floats = 2.0 * ndtr(-(outside + beta) / math.sqrt(inner_ticks))
    return chances


def touch_probability(
    tick: Quoted,
    column_start: Floats,
    low_cents: Floats,
    high_cents: Floats,
    limits: Limits = LIMITS,
) -> Floats:
    """P for each cell, given as three arrays of one length.

    Has a meaning only where the column is ahead of the tick, the band lies above zero and
    `tick.sigma_ppm` and its price do: `cell_rates` and `grid_rates` see to that.
    """
    deviation = tick_deviation(tick.sigma_ppm, limits)
    ticks_before = (column_start * 1_000 - tick.at_ms) / limits.tick_ms
    root = np.sqrt(ticks_before)
    drift = deviation * ticks_before / 2
    z_low = (np.log(low_cents / tick.price_cents) / deviation + drift) / root
    z_high = (np.log(high_cents / tick.price_cents) / deviation + drift) / root
    inner_ticks = limits.column_s * limits.index_hz
    nodes, weights = quadrature(inner_ticks)
    chances = return_chances(nodes, tick.overshoot_e12 / 1e12, deviation, inner_ticks)
    away = nodes[:, None] / root
    density = np.exp(-0.5 * (z_high + away) ** 2) + np.exp(-0.5 * (z_low - away) ** 2)
    returning = _sum_nodes(density * (weights * chances / _ROOT_2PI)[:, None]) / root
    probability: Floats = ndtr(z_high) - ndtr(z_low) + returning
    return probability


def _sum_nodes(rows: Floats) -> Floats:
    """The sum of 24 rows in one fixed order; numpy's own depends on how many columns there are."""
    rows = rows[:12] + rows[12:]
    rows = rows[:6] + rows[6:]
    rows = rows[:3] + rows[3:]
    total: Floats = rows[0] + rows[1] + rows[2]
    return total


def _rates(
    tick: Quoted, column_start: Floats, low_cents: Floats, limits: Limits
) -> NDArray[np.int64]:
    """Rates of cells given as two arrays of one length; 0 where none is offered."""
    rates = np.zeros(len(column_start), dtype=np.int64)
    if tick.sigma_ppm <= 0 or tick.price_cents <= 0:
        return rates
    priced = (column_start * 1_000 > tick.at_ms) & (low_cents > 0)
    if not priced.all():
        rates[priced] = _rates(tick, column_start[priced], low_cents[priced], limits)
        return rates
    high_cents = low_cents + limits.band_cents
    probability = touch_probability(tick, column_start, low_cents, high_cents, limits)
    offered = (probability >= PROBABILITY_MIN) & (probability <= PROBABILITY_MAX)
    rates[offered] = np.floor((BPS - limits.edge_bps) / probability[offered])
    rates[(rates < limits.rate_min_bps) | (rates > limits.rate_max_bps)] = 0
    return rates


def cell_rates(cells: Sequence[Cell], tick: Quoted, limits: Limits = LIMITS) -> list[int]:
    """rate_bps of each cell at this tick, 0 = not offered."""
    if not cells:
        return []
    column_start = np.array([cell.column_start for cell in cells], dtype=np.float64)
    low_cents = np.array([cell.low_cents for cell in cells], dtype=np.float64)
    rates: list[int] = _rates(tick, column_start, low_cents, limits).tolist()
    return rates


def cell_rate(cell: Cell, tick: Quoted, limits: Limits = LIMITS) -> int:
    """rate_bps of one cell at this tick, 0 = not offered; the same number as in any grid."""
    return cell_rates([cell], tick, limits)[0]


def grid_rates(
    tick: Quoted,
    column_starts: Sequence[int],
    low_cents: Sequence[int],
    limits: Limits = LIMITS,
) -> list[list[int]]:
    """rate_bps, a row a column and a place a band; 0 = not offered."""
    if not column_starts or not low_cents:
        return [[] for _ in column_starts]
    columns = np.repeat(np.array(column_starts, dtype=np.float64), len(low_cents))
    lows = np.tile(np.array(low_cents, dtype=np.float64), len(column_starts))
    rates = _rates(tick, columns, lows, limits).reshape(len(column_starts), len(low_cents))
    grid: list[list[int]] = rates.tolist()
    return grid
