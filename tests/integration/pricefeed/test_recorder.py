"""Recorded ticks as settlement, pricing and charts read them."""

import pytest
from django.db import IntegrityError

from pricefeed import recorder
from pricefeed.board import TickRecord
from pricefeed.recorder import Candle

START_S = 1_764_000_010
pytestmark = pytest.mark.django_db


def tick(seq: int, at_ms: int, price_cents: int = 9_500_000) -> TickRecord:
    return TickRecord(seq, START_S * 1_000 + at_ms, price_cents, 600_000, 123, "a,b")


def vertices_ms(column_start: int = START_S) -> list[int]:
    vertices = recorder.ticks_of_column(column_start, 5)
    return [vertex.at_ms - START_S * 1_000 for vertex in vertices]


def test_record_ticks_when_read_back_then_the_same() -> None:
    ticks = [tick(1, 0), tick(2, 100, 9_500_001)]
    recorder.record(ticks, 1_764_000_010_123_456)
    assert recorder.newest() == ticks[1]
    assert recorder.ticks_after(0, 10) == ticks
    assert recorder.ticks_after(1, 10) == ticks[1:]
    assert recorder.ticks_after(0, 1) == ticks[:1]
    assert recorder.ticks_since(START_S * 1_000_000 + 1) == ticks[1:]
    assert recorder.first_tick_at_or_after(START_S * 1_000_000 + 1) == ticks[1]
    assert recorder.first_tick_at_or_after(START_S * 1_000_000 + 100_001) is None


def test_record_ticks_when_one_cannot_be_then_none_is() -> None:
    recorder.record([tick(1, 0)], 1)
    with pytest.raises(IntegrityError):
        recorder.record([tick(2, 100), tick(3, 0)], 2)
    assert recorder.newest() == tick(1, 0)


def test_read_newest_when_nothing_is_recorded_then_none() -> None:
    assert recorder.newest() is None
    assert recorder.ticks_of_column(START_S, 5) == []


def test_read_column_when_both_edges_are_recorded_then_they_are_its_ends() -> None:
    recorder.record([tick(n, at) for n, at in enumerate(range(-300, 5_400, 100), 1)], 42)
    assert vertices_ms() == list(range(0, 5_001, 100))
    (first, *_) = recorder.ticks_of_column(START_S, 5)
    assert first == (4, START_S * 1_000, 9_500_000, 42, "a,b")


def test_read_column_when_its_edges_are_missing_then_the_nearest_outside() -> None:
    recorder.record([tick(1, -900), tick(2, -200), tick(3, 100), tick(4, 4_900)], 42)
    recorder.record([tick(5, 5_300), tick(6, 5_400)], 42)
    assert vertices_ms() == [-200, 100, 4_900, 5_300]


def test_read_column_when_its_end_is_not_recorded_yet_then_it_stops_inside() -> None:
    recorder.record([tick(1, 0), tick(2, 4_900)], 42)
    assert vertices_ms() == [0, 4_900]


def test_draw_candles_when_steps_have_ticks_then_open_low_high_close() -> None:
    prices = [100, 90, 120, 110, 105]
    ats_ms = [0, 100, 900, 1_000, 3_000]
    recorder.record([tick(n + 1, ats_ms[n], prices[n]) for n in range(5)], 42)
    start_us = START_S * 1_000_000
    assert recorder.ohlc(start_us, start_us + 3_000_000, 1) == [
        Candle(start_us, 100, 90, 120, 120),
        Candle(start_us + 1_000_000, 110, 110, 110, 110),
    ]
    assert recorder.ohlc(start_us, start_us + 3_000_001, 5) == [Candle(start_us, 100, 90, 120, 105)]
