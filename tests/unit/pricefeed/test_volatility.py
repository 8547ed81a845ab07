"""Sigma and overshoot against plain formulas and against a path of known volatility."""

import math
import random
from itertools import pairwise

import pytest

from pricefeed.volatility import FORGET_MS, SIGMA_MIN_PPM, YEAR_S, Volatility


def estimator(warmup_ms: int = 60_000) -> Volatility:
    return Volatility(tick_ms=100, warmup_ms=warmup_ms)


def brownian_cents(sigma: float, ticks: int, seed: int = 1) -> list[int]:
    """A price so high that whole cents do not matter."""
    draw, step, log = random.Random(seed), sigma * math.sqrt(0.1 / YEAR_S), 0.0
    prices = []
    for _ in range(ticks):
        log += step * draw.gauss(0, 1)
        prices.append(int(1e13 * math.exp(log)))
    return prices


def fed(prices: list[int], warmup_ms: int = 60_000) -> Volatility:
    volatility = estimator(warmup_ms)
    for n, price in enumerate(prices):
        volatility.take(n * 100, price)
    return volatility


def test_warm_up_when_less_than_a_minute_then_sigma_is_zero() -> None:
    prices = brownian_cents(0.6, 600)
    assert fed(prices[:599]).sigma_ppm == 0
    assert fed(prices).sigma_ppm > 0


def test_estimate_when_volatility_is_known_then_recovered() -> None:
    found = [fed(brownian_cents(0.6, 6_000, seed)).sigma_ppm for seed in range(12)]
    assert sum(found) / len(found) == pytest.approx(600_000, rel=0.06)


def test_estimate_when_computed_by_the_book_then_the_same() -> None:
    prices = brownian_cents(0.8, 900)
    logs = [math.log(price) for price in prices]

    def ewma(values: list[float], half_life_s: int) -> float:
        weights = [
            math.pow(0.5, (len(values) - 1 - n) * 0.1 / half_life_s) for n in range(len(values))
        ]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    squared = [(b - a) ** 2 for a, b in zip(logs, logs[10:], strict=False)]
    moves = [b - a for a, b in pairwise(logs)]
    sigma = math.sqrt((ewma(squared, 20) + ewma(squared, 300)) / 2 * YEAR_S)
    overshoot = 0.465 * ewma([j * j for j in moves], 300) / ewma([abs(j) for j in moves], 300)

    volatility = fed(prices)
    assert volatility.sigma_ppm == pytest.approx(sigma * 1e6, abs=1)
    assert volatility.overshoot_e12 == pytest.approx(overshoot * 1e12, abs=1)


def test_measure_overshoot_when_ticks_are_gaussian_then_the_known_constant() -> None:
    v = 0.6 * math.sqrt(0.1 / YEAR_S)
    found = fed(brownian_cents(0.6, 12_000)).overshoot_e12 / 1e12
    assert found / v == pytest.approx(0.5826, rel=0.03)


def test_estimate_when_the_market_stands_still_then_the_floor() -> None:
    volatility = fed([9_500_000] * 700)
    assert volatility.sigma_ppm == SIGMA_MIN_PPM
    assert volatility.overshoot_e12 == 0


def test_count_returns_when_marks_are_missing_then_the_jump_across_is_not_one() -> None:
    volatility = estimator(warmup_ms=100)
    for n in range(50):
        volatility.take(n * 100, 9_500_000)
    for n in range(50):
        volatility.take(10_000 + n * 100, 9_900_000)  # 4 % higher after the hole
    assert volatility.sigma_ppm == SIGMA_MIN_PPM
    assert volatility.overshoot_e12 == 0


def test_take_tick_when_the_last_one_is_long_ago_then_warm_up_begins_anew() -> None:
    volatility = fed(brownian_cents(0.6, 700))
    assert volatility.warm
    volatility.take(699 * 100 + FORGET_MS + 100, 9_500_000)
    assert not volatility.warm


def test_take_tick_when_out_of_order_then_refused() -> None:
    volatility = estimator()
    volatility.take(100, 9_500_000)
    with pytest.raises(ValueError, match="order"):
        volatility.take(100, 9_500_000)
