"""The index price of several sources at a mark."""

import pytest

from pricefeed.index import Index, IndexPrice, median_nanos
from pricefeed.ticks import NANOS_PER_CENT, Event

S = 1_000_000
DOLLAR = 100 * NANOS_PER_CENT


def index(sources_min: int = 1) -> Index:
    return Index(stale_us=S, outlier_bps=50, sources_min=sources_min)


def heard(target: Index, *prices: tuple[str, int], at_us: int = 0) -> None:
    for name, nanos in prices:
        target.take(Event(at_us, name, nanos))


@pytest.mark.parametrize(("prices", "middle"), [([3, 1, 2], 2), ([5], 5), ([4, 1], 2)])
def test_take_median_when_odd_or_even_then_floored(prices: list[int], middle: int) -> None:
    assert median_nanos(prices) == middle


def test_price_index_when_three_agree_then_median_floored_to_the_cent() -> None:
    prices = index()
    heard(prices, ("b", 100 * DOLLAR), ("a", 100 * DOLLAR + 19_999_999), ("c", 101 * DOLLAR))
    # c is 1 % away from the median: an outlier, so the middle is that of a and b.
    assert prices.at(0) == IndexPrice(10_000, "a,b")


def test_price_index_when_exactly_at_the_outlier_bound_then_kept() -> None:
    prices = index()
    heard(prices, ("a", 1_000 * DOLLAR), ("b", 1_000 * DOLLAR), ("c", 1_005 * DOLLAR))
    assert prices.at(0) == IndexPrice(100_000, "a,b,c")


def test_price_index_when_two_are_far_apart_then_neither_is_believed() -> None:
    prices = index()
    heard(prices, ("a", 1_000 * DOLLAR), ("b", 1_020 * DOLLAR))
    assert prices.at(0) is None


@pytest.mark.parametrize(("age_us", "live"), [(S, True), (S + 1, False)])
def test_price_index_when_a_source_falls_silent_then_dropped_after_a_second(
    age_us: int, live: bool
) -> None:
    prices = index()
    heard(prices, ("a", DOLLAR))
    assert (prices.at(age_us) is not None) is live


def test_price_index_when_heartbeats_go_on_then_an_unchanged_price_is_current() -> None:
    prices = index()
    heard(prices, ("a", DOLLAR))
    for second in range(1, 60):
        prices.take(Event(second * S, "a", None))
    assert prices.at(60 * S) == IndexPrice(100, "a")


def test_price_index_when_only_heartbeats_then_no_price() -> None:
    prices = index()
    prices.take(Event(0, "a", None))
    assert prices.at(0) is None


def test_price_index_when_connection_was_lost_then_new_heartbeats_do_not_revive_it() -> None:
    prices = index()
    heard(prices, ("a", DOLLAR))
    prices.lost("a")
    prices.take(Event(S, "a", None))
    assert prices.at(S) is None
    heard(prices, ("a", 2 * DOLLAR), at_us=S)
    assert prices.at(S) == IndexPrice(200, "a")


def test_price_index_when_fewer_than_the_minimum_then_none() -> None:
    prices = index(sources_min=2)
    heard(prices, ("a", DOLLAR))
    assert prices.at(0) is None
    heard(prices, ("b", DOLLAR))
    assert prices.at(0) == IndexPrice(100, "a,b")
