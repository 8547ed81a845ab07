"""Rates against evaluations that share nothing with the formula: an exact recursion over the
walk, simulation of the settling rule itself, and QuantLib's one-touch in the continuous limit.
"""

import math
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import QuantLib as ql
from scipy.special import ndtr

from bets.grid import Cell, band_lows, open_columns
from bets.rates import (
    PROBABILITY_MAX,
    PROBABILITY_MIN,
    cell_rate,
    cell_rates,
    grid_rates,
    quadrature,
    return_chances,
    tick_deviation,
    touch_probability,
)
from taptrading.limits import LIMITS, Limits

AT_MS = 1_764_000_011_300
PRICE = 9_500_500
INNER = 50


class Tick(NamedTuple):
    at_ms: int = AT_MS
    price_cents: int = PRICE
    sigma_ppm: int = 500_000
    overshoot_e12: int = 0


def columns(tick=Tick()):  # noqa: B008 - a tuple, never changed
    return open_columns(tick.at_ms * 1_000)


def probabilities(tick, column_start, lows, limits=LIMITS):
    lows = np.array(lows, dtype=float)
    starts = np.full(len(lows), float(column_start))
    return touch_probability(tick, starts, lows, lows + limits.band_cents, limits)


# The exact value: the recursion of a Gaussian walk on a half-line, on a dense quadrature.


def composite_rule(length, panels, order=8):
    nodes, weights = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(0, length, panels + 1)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * nodes).ravel(), (half[:, None] * weights).ravel()


@cache  # all cells of one volatility ask for the same two
def exact_returns(drift, length=75.0):
    """Nodes, weights and the exact chance that a walk from there is below 0 within 50 steps."""
    y, weights = composite_rule(length, 90)
    kernel = np.exp(-0.5 * (y[None, :] - y[:, None] - drift) ** 2) / math.sqrt(2 * math.pi)
    kernel *= weights[None, :]
    beyond = ndtr(y + drift - length)
    survives = np.ones_like(y)
    for _ in range(INNER):
        survives = kernel @ survives + beyond
    return y, weights, 1 - survives


def exact_probability(tick, column_start, low_cents, high_cents):
    step = tick_deviation(tick.sigma_ppm)
    before = (column_start * 1_000 - tick.at_ms) / 100
    mean, root = -step * before / 2, math.sqrt(before)

    def density(x):
        return np.exp(-0.5 * ((x - mean) / root) ** 2) / (root * math.sqrt(2 * math.pi))

    low, high = (math.log(edge / tick.price_cents) / step for edge in (low_cents, high_cents))
    inside = ndtr((high - mean) / root) - ndtr((low - mean) / root)
    y, weights, falls = exact_returns(-step / 2)
    _, _, rises = exact_returns(step / 2)
    return (
        inside
        + (weights * density(high + y) * falls).sum()
        + (weights * density(low - y) * rises).sum()
    )


@pytest.mark.parametrize("sigma_ppm", [150_000, 300_000, 500_000, 1_000_000, 2_500_000, 4_000_000])
def test_rate_returns_97_percent_when_the_chance_is_evaluated_exactly(sigma_ppm):
    tick = Tick(sigma_ppm=sigma_ppm)
    starts = list(columns())
    returns = []
    for column_start in (starts[0], starts[1], starts[5], starts[-1]):
        for low in band_lows(PRICE)[::3]:
            rate = cell_rate(Cell(column_start, low, low + 1_000), tick)
            if rate:
                exact = exact_probability(tick, column_start, low, low + 1_000)
                returns.append(rate / 10_000 * exact)

    assert len(returns) >= 4
    assert min(returns) > 0.969
    assert max(returns) < 0.971


# Simulation of the rule that settles: whole cents at 10 Hz, path's low < high and high >= low.


def simulate_extremes(tick, column_start, paths, seed):
    random = np.random.default_rng(seed)
    step = tick_deviation(tick.sigma_ppm)
    before = (column_start * 1_000 - tick.at_ms) // 100
    first = random.standard_normal(paths) * math.sqrt(before) - step * before / 2
    log_price = first
    lows, highs = log_price.copy(), log_price.copy()
    for _ in range(INNER):
        log_price = log_price + random.standard_normal(paths) - step / 2
        np.minimum(lows, log_price, out=lows)
        np.maximum(highs, log_price, out=highs)
    cents = [np.rint(tick.price_cents * np.exp(step * x)) for x in (lows, highs)]
    return cents[0], cents[1]


@pytest.mark.parametrize(
    ("sigma_ppm", "column"), [(200_000, 4), (500_000, 0), (500_000, 6), (1_500_000, 2)]
)
def test_rate_returns_97_percent_when_paths_are_simulated_and_settled(sigma_ppm, column):
    tick, paths = Tick(sigma_ppm=sigma_ppm), 200_000
    column_start = columns()[column]
    lows, highs = simulate_extremes(tick, column_start, paths, seed=sigma_ppm + column)
    returned, staked = 0.0, 0

    for low in band_lows(PRICE):
        rate = cell_rate(Cell(column_start, low, low + 1_000), tick)
        if not rate:
            continue
        hit = float(((lows < low + 1_000) & (highs >= low)).mean())
        error = math.sqrt(hit * (1 - hit) / paths) * rate / 10_000
        assert abs(rate / 10_000 * hit - 0.97) < 4.5 * error + 0.001, (low, rate)
        returned += rate / 10_000 * hit
        staked += 1

    assert staked >= 5
    assert returned / staked == pytest.approx(0.97, abs=0.01)


# The continuous limit: ticks so dense that watching them is watching always.


def one_touch(distance):
    """QuantLib's chance that a driftless price `distance` deviations below an edge touches it."""
    today = ql.Date(1, 1, 2030)
    ql.Settings.instance().evaluationDate = today
    day_count = ql.Actual365Fixed()
    flat = ql.YieldTermStructureHandle(ql.FlatForward(today, 0.0, day_count))
    sigma = 1e-3  # small, so that the log price is as good as driftless
    spot = ql.QuoteHandle(ql.SimpleQuote(math.exp(-distance * sigma)))
    volatility = ql.BlackVolTermStructureHandle(
        ql.BlackConstantVol(today, ql.NullCalendar(), sigma, day_count)
    )
    process = ql.BlackScholesMertonProcess(spot, flat, flat, volatility)
    option = ql.BarrierOption(
        ql.Barrier.UpIn,
        1.0,
        0.0,
        ql.CashOrNothingPayoff(ql.Option.Call, 1e-9, 1.0),
        ql.AmericanExercise(today, today + ql.Period(365, ql.Days), True),
    )
    option.setPricingEngine(ql.AnalyticBinaryBarrierEngine(process))
    return option.NPV()


@pytest.mark.parametrize("distance", [0.05, 0.5, 1.0, 2.0, 3.0])
def test_return_chance_meets_quantlib_when_ticks_are_dense(distance):
    ticks = 1_000_000
    step = 1 / math.sqrt(ticks)

    found = return_chances(np.array([distance / step]), 0.0, step, ticks)[0]

    assert found == pytest.approx(one_touch(distance), abs=2e-3)


def test_touch_probability_meets_the_continuous_one_when_ticks_are_dense():
    dense = Limits(index_hz=1_000)
    tick, column_start, low = Tick(), columns()[3], PRICE + 4_500
    step = tick_deviation(tick.sigma_ppm, dense)
    before = (column_start * 1_000 - tick.at_ms) / dense.tick_ms
    inner = dense.column_s * dense.index_hz
    y, weights = composite_rule(600.0, 300)
    z = [(math.log(e / PRICE) / step + step * before / 2) for e in (low, low + 1_000)]
    touch = weights * 2 * ndtr(-y / math.sqrt(inner)) / math.sqrt(2 * math.pi * before)
    continuous = (
        ndtr(z[1] / math.sqrt(before))
        - ndtr(z[0] / math.sqrt(before))
        + (touch * np.exp(-((z[1] + y) ** 2) / 2 / before)).sum()
        + (touch * np.exp(-((z[0] - y) ** 2) / 2 / before)).sum()
    )

    found = probabilities(tick, column_start, [low], dense)[0]

    assert 0.985 < found / continuous < 1.0


def test_return_chance_lies_below_the_continuous_one_by_the_known_shift():
    """Broadie, Glasserman and Kou: watched at intervals, the edge lies 0.5826 steps further."""
    found = return_chances(np.array([10.0]), 0.0, 1e-5, INNER)[0]
    shifted = 2 * ndtr(-(10.0 + 0.5826) / math.sqrt(INNER))

    assert found == pytest.approx(shifted, rel=0.02)
    assert found < 2 * ndtr(-10.0 / math.sqrt(INNER))


def test_return_chance_is_exact_at_the_edge():
    """Sparre Andersen: a walk of n steps from 0 never returns below it with C(2n, n) / 4^n."""
    stays = math.comb(2 * INNER, INNER) / 4**INNER

    assert return_chances(np.array([0.0]), 0.0, 1e-5, INNER)[0] == pytest.approx(
        1 - stays, abs=1e-3
    )


def test_quadrature_agrees_with_a_dense_rule_when_the_column_has_fifty_ticks():
    nodes, weights = quadrature(INNER)
    dense_nodes, dense_weights = composite_rule(80.0, 200)

    coarse = (weights * return_chances(nodes, 0.0, 1e-5, INNER)).sum()
    fine = (dense_weights * return_chances(dense_nodes, 0.0, 1e-5, INNER)).sum()

    assert len(nodes) == 24
    assert coarse == pytest.approx(fine, rel=2e-5)


# What is offered.


@pytest.mark.parametrize("sigma_ppm", [1, 100_000, 500_000, 4_000_000])
def test_rate_lies_between_one_and_twenty_when_one_is_offered(sigma_ppm):
    rows = grid_rates(Tick(sigma_ppm=sigma_ppm), columns(), band_lows(PRICE))
    offered = [rate for row in rows for rate in row if rate]

    assert all(LIMITS.rate_min_bps <= rate <= LIMITS.rate_max_bps for rate in offered)


@pytest.mark.parametrize("sigma_ppm", [150_000, 500_000, 2_000_000])
def test_cell_is_offered_exactly_while_its_chance_is_within_bounds(sigma_ppm):
    tick, lows = Tick(sigma_ppm=sigma_ppm), list(band_lows(PRICE))
    seen = set()

    for column_start in columns():
        row = cell_rates([Cell(column_start, low, low + 1_000) for low in lows], tick)
        for rate, chance in zip(row, probabilities(tick, column_start, lows), strict=True):
            assert (rate > 0) == (PROBABILITY_MIN <= chance <= PROBABILITY_MAX)
            assert rate in (0, math.floor(9_700 / chance))
            seen.add(rate > 0)

    assert True in seen


def test_cell_is_left_out_when_it_is_almost_certain_to_be_touched():
    calm = Tick(sigma_ppm=20_000)
    own = Cell(columns()[0], 9_500_000, 9_501_000)

    assert probabilities(calm, own.column_start, [own.low_cents])[0] > 0.96
    assert cell_rate(own, calm) == 0


def test_cell_is_left_out_when_only_its_chance_is_above_bounds():
    """Between a chance of 0.96 and a rate of 1.01 there are a few rates: none is offered."""
    own, found = Cell(columns()[0], 9_500_000, 9_501_000), 0
    for sigma_ppm in range(20_000, 60_000, 10):
        tick = Tick(sigma_ppm=sigma_ppm)
        chance = probabilities(tick, own.column_start, [own.low_cents])[0]
        if 0.96 < chance < 0.97 / 1.01:
            found += 1
            assert cell_rate(own, tick) == 0

    assert found


@pytest.mark.parametrize(
    ("tick", "cell"),
    [
        (Tick(sigma_ppm=0), Cell(columns()[0], 9_500_000, 9_501_000)),  # warming up
        (Tick(price_cents=0), Cell(columns()[0], 0, 1_000)),
        (Tick(price_cents=500), Cell(columns()[0], 0, 1_000)),  # reaches down to zero
        (Tick(), Cell(AT_MS // 1_000 - 1, 9_500_000, 9_501_000)),  # begun
        (Tick(at_ms=1_764_000_015_000), Cell(1_764_000_015, 9_500_000, 9_501_000)),  # beginning
    ],
)
def test_nothing_is_offered_when_there_is_nothing_to_price_by(tick, cell):
    assert cell_rate(cell, tick) == 0
    assert grid_rates(tick, [cell.column_start], [cell.low_cents]) == [[0]]


def test_rates_are_empty_when_no_cell_is_asked_for():
    assert cell_rates([], Tick()) == []
    assert grid_rates(Tick(), [], [1_000]) == []
    assert grid_rates(Tick(), [5], []) == [[]]


# Shape.


def test_chance_falls_when_the_band_lies_further_off():
    for column_start in columns():
        chances = probabilities(Tick(), column_start, band_lows(PRICE))

        assert (np.diff(chances[:12]) > 0).all()
        assert (np.diff(chances[11:]) < 0).all()


def test_chance_of_a_far_band_rises_when_volatility_or_time_does():
    far = [PRICE - PRICE % 1_000 + 9_000]
    by_sigma = [
        probabilities(Tick(sigma_ppm=s), columns()[2], far)[0]
        for s in range(200_000, 900_000, 50_000)
    ]
    by_time = [probabilities(Tick(), column, far)[0] for column in columns()]

    assert (np.diff(by_sigma) > 0).all()
    assert (np.diff(by_time) > 0).all()


def test_chances_mirror_when_bands_lie_alike_on_both_sides():
    """Up to the log's curvature, a band above is as likely as its mirror image below."""
    for column_start, distance in product(columns(), range(1, 11)):
        above, below = probabilities(
            Tick(), column_start, [9_500_000 + 1_000 * distance, 9_500_000 - 1_000 * distance]
        )
        assert above == pytest.approx(below, rel=0.02)


def test_rate_rises_when_the_measured_overshoot_exceeds_the_gaussian_one():
    """A jumpy index passes edges between ticks, so it touches a band less often."""
    cell = Cell(columns()[2], 9_505_000, 9_506_000)
    gaussian_e12 = round(0.5826 * tick_deviation(500_000) * 1e12)

    assert cell_rate(cell, Tick(overshoot_e12=gaussian_e12 // 2)) == cell_rate(cell, Tick())
    assert cell_rate(cell, Tick(overshoot_e12=gaussian_e12 * 2)) > cell_rate(cell, Tick())


def test_rate_differs_when_the_tick_is_one_mark_older():
    cell = Cell(columns()[0], 9_505_000, 9_506_000)

    assert cell_rate(cell, Tick(at_ms=AT_MS - 100)) < cell_rate(cell, Tick())


def test_rates_stay_as_they_are_for_ever_when_recomputed():
    """A worked example: a change of the formula must be a decision, not an accident."""
    row = grid_rates(Tick(at_ms=1_764_000_001_300), [1_764_000_010], band_lows(PRICE))[0]

    assert row[5:18] == [
        147532, 79966, 48235, 32457, 24416, 20568, 19423, 20570, 24419, 32459, 48224, 79904, 147290,
    ]  # fmt: skip
    assert row[:5] == [0] * 5
    assert row[18:] == [0] * 6
