"""The simulated market: one price per seed and instant, with honest statistics."""

import math
from itertools import pairwise

import pytest

from pricefeed.sources import simulated
from pricefeed.sources.simulated import SimulatedSource
from pricefeed.volatility import YEAR_S

AT_MS = 1_764_000_000_000
DAY_MS = 86_400_000


def price(at_ms: int, seed: int = 1, sigma_pct: int = 60) -> int:
    return simulated.price_cents(seed, at_ms, sigma_pct=sigma_pct, start_cents=9_500_000)


def returns(step_ms: int, count: int, seed: int, sigma_pct: int = 60) -> list[float]:
    logs = [math.log(price(AT_MS + n * step_ms, seed, sigma_pct)) for n in range(count + 1)]
    return [after - before for before, after in pairwise(logs)]


async def test_drain_when_started_at_other_times_then_the_same_prices() -> None:
    early, late = (SimulatedSource(7, 60, 9_500_000) for _ in range(2))
    await early.start((AT_MS - 60_000) * 1_000)
    await late.start(AT_MS * 1_000)
    for mark_ms in range(AT_MS - 60_000, AT_MS, 100):
        early.drain(mark_ms * 1_000)
    for mark_ms in range(AT_MS, AT_MS + 2_000, 100):
        assert early.drain(mark_ms * 1_000) == late.drain(mark_ms * 1_000)


async def test_drain_when_asked_twice_for_a_mark_then_nothing_new() -> None:
    source = SimulatedSource(7, 60, 9_500_000)
    since_us = await source.start(AT_MS * 1_000)
    assert since_us == (AT_MS - 300_000) * 1_000
    (event,) = source.drain(AT_MS * 1_000)
    assert event.price_nanos == price(AT_MS, 7) * 10_000_000
    assert source.drain(AT_MS * 1_000) == []


def test_price_when_seeds_differ_then_so_do_paths() -> None:
    assert price(AT_MS, 1) != price(AT_MS, 2)
    assert price(AT_MS + 99, 1) == price(AT_MS, 1)


@pytest.mark.parametrize("sigma_pct", [20, 60, 150])
def test_measure_sigma_when_of_second_returns_then_as_set(sigma_pct: int) -> None:
    # The hourly jump adds its own variance, the same whatever sigma is: measured without.
    moves = [abs(move) for seed in (1, 2, 3) for move in returns(1_000, 3_600, seed, sigma_pct)]
    bound = 6 * sigma_pct / 100 / math.sqrt(YEAR_S)
    calm = [move for move in moves if move < bound]
    assert len(moves) - len(calm) <= 6
    sigma = math.sqrt(sum(move * move for move in calm) / len(calm) * YEAR_S)
    assert sigma == pytest.approx(sigma_pct / 100, rel=0.03)


def test_scale_returns_when_steps_grow_then_as_brownian_motion() -> None:
    variance = {
        step_ms: sum(move * move for seed in range(20) for move in returns(step_ms, 200, seed))
        / 4_000
        / step_ms
        for step_ms in (100, 10_000, 60_000)
    }
    assert variance[10_000] == pytest.approx(variance[100], rel=0.15)
    assert variance[60_000] == pytest.approx(variance[100], rel=0.25)


def test_stay_near_start_when_years_pass_then_within_a_fifth() -> None:
    prices = [price(AT_MS + day * DAY_MS) for day in range(0, 3_650, 5)]
    assert 9_500_000 * 0.8 < min(prices) < 9_500_000 < max(prices) < 9_500_000 * 1.2


def test_cross_a_block_when_its_anchor_is_passed_then_no_step() -> None:
    block_ms = 100 << 20
    edge_ms = AT_MS // block_ms * block_ms
    moves = [abs(price(edge_ms + n * 100 + 100) / price(edge_ms + n * 100) - 1) for n in (-1, 0)]
    assert max(moves) < 0.001


def test_jump_when_an_hour_passes_then_at_most_once() -> None:
    levels = {simulated._jump(1, mark) for mark in range(36_000 * 10, 36_000 * 11, 100)}
    assert len(levels) == 2
