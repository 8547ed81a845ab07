"""Sources by their names in the settings, and what is counted of them."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from pricefeed import assembly, counts
from pricefeed.board import FeedState, TickRecord, board
from pricefeed.sources import simulated
from pricefeed.sources.replay import ReplaySource
from pricefeed.sources.simulated import SimulatedSource
from pricefeed.sources.venue import VenueSource
from pricefeed.ticks import NANOS_PER_CENT
from taptrading import clock


def now_us() -> int:
    return 0


@pytest.mark.parametrize("name", ["binance", "coinbase", "kraken"])
def test_make_source_when_a_venue_then_a_live_adapter(name: str) -> None:
    source = assembly.source(name, now_us)
    assert isinstance(source, VenueSource)
    assert source.name == name


def test_make_source_when_simulated_or_replay_then_each_of_its_kind(
    settings: Any, tmp_path: Path
) -> None:
    with gzip.open(tmp_path / "trades.csv.gz", "wt") as file:
        file.write("ts_ms,price,qty\n")
    settings.RECORDINGS_DIR = tmp_path
    settings.REPLAY_FILES = ["trades.csv.gz"]
    assert isinstance(assembly.source("replay", now_us), ReplaySource)
    assert isinstance(assembly.source("simulated", now_us), SimulatedSource)


async def test_make_simulated_source_when_nothing_is_set_then_the_module_s_own_defaults(
    settings: Any,
) -> None:
    source = assembly.source("simulated", now_us)
    at_us = 1_764_000_000_000_000
    await source.start(at_us)
    (event,) = source.drain(at_us)
    price = simulated.price_cents(settings.SIMULATED_SEED, at_us // 1_000)
    assert event.price_nanos == price * NANOS_PER_CENT


def gauge(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None
    return value


def test_read_gauges_when_a_tick_was_published_then_this_process_s_board() -> None:
    before = FeedState(board.tick, board.published, board.override, board.reason)
    board.tick = None
    try:
        assert gauge("circuit_breaker_state") == 1
        assert gauge("price_feed_staleness_seconds") == float("inf")
        tick = TickRecord(1, clock.now_ms() - 500, 9_500_000, 1, 1, "a")
        board.apply(FeedState(tick, "closed", "auto", ""))
        assert gauge("circuit_breaker_state") == 0
        assert 0.5 <= gauge("price_feed_staleness_seconds") < 3
    finally:
        board.tick = None
        board.apply(before)


def test_count_refusals_when_told_then_by_source_and_reason() -> None:
    counts.refused("venue-of-this-test", "crossed_book")
    counts.reconnected("venue-of-this-test")
    labels = {"source": "venue-of-this-test"}
    assert gauge("pricefeed_refusals_total", reason="crossed_book", **labels) == 1
    assert gauge("pricefeed_reconnects_total", **labels) == 1
