"""Recorded ticks as settlement, pricing and charts read them."""

import re

import pytest
from django.db import IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext

from pricefeed import recorder
from pricefeed.board import TickRecord
from pricefeed.recorder import Candle
from taptrading.databases import PRICES
from tests.fakes import ManualClock

START_S = 1_764_000_010
START_US = START_S * 1_000_000
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
    assert recorder.ticks_since(0) == ticks
    assert recorder.ticks_since(0, 1) == ticks[:1]
    assert recorder.ticks_since(START_S * 1_000_000 + 1) == ticks[1:]


def test_record_ticks_when_the_lock_comes_late_then_the_time_is_that_of_the_lock(
    now: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = transaction.Atomic.__enter__

    def wait_for_the_lock(atomic: transaction.Atomic) -> None:
        if atomic.savepoint:  # ours, not the one within
            now.advance(2)
        begin(atomic)

    called_us = now.now_us()
    with monkeypatch.context() as patched:
        patched.setattr(transaction.Atomic, "__enter__", wait_for_the_lock)
        recorder.record([tick(1, 0)])
    (vertex,) = recorder.ticks_of_column(START_S, 5)
    assert vertex.recorded_at_us == called_us + 2_000_000


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


def starts_s(from_us: int, to_us: int, limit: int = 50) -> tuple[list[int], bool]:
    """When the steps of 5 s begin, from START_S on."""
    candles, has_older = recorder.ohlc(from_us, to_us, 5, limit)
    return [(candle.at_us - START_US) // 1_000_000 for candle in candles], has_older


def test_draw_candles_when_steps_have_ticks_then_open_low_high_close() -> None:
    prices = [100, 90, 120, 110, 105]
    ats_ms = [0, 100, 900, 1_000, 3_000]
    recorder.record([tick(n + 1, ats_ms[n], prices[n]) for n in range(5)], 42)
    assert recorder.ohlc(START_US, START_US + 3_000_000, 1, 50) == (
        [
            Candle(START_US + 1_000_000, 110, 110, 110, 110),
            Candle(START_US, 100, 90, 120, 120),
        ],
        False,
    )
    # A step that begins in time counts whole.
    whole = Candle(START_US, 100, 90, 120, 105)
    assert recorder.ohlc(START_US, START_US + 1, 5, 50) == ([whole], False)


def test_draw_candles_when_a_step_began_before_from_then_left_out() -> None:
    recorder.record([tick(1, 0), tick(2, 4_900), tick(3, 5_000)], 42)
    assert starts_s(START_US + 1, START_US + 60_000_000) == ([5], False)
    assert starts_s(START_US, START_US + 5_000_000) == ([0], False)
    assert starts_s(START_US + 5_000_000, START_US) == ([], False)


def test_draw_candles_when_there_are_gaps_then_pages_are_full_and_none_is_missed() -> None:
    ats_s = [0, 5, 1_000, 1_005, 1_010, 90_000, 500_000]
    recorder.record([tick(n, at_s * 1_000 + 200) for n, at_s in enumerate(ats_s, 1)], 42)
    for limit in range(1, 8):
        found: list[int] = []
        to_us, has_older = START_US + 10**12, True
        while has_older:
            page, has_older = starts_s(0, to_us, limit)
            assert len(page) == limit or not has_older
            found += page
            to_us = START_US + page[-1] * 1_000_000
        assert found == ats_s[::-1]


def test_draw_candles_when_history_is_long_then_only_what_is_shown_is_read() -> None:
    recorder.record([tick(n, n * 1_000) for n in range(1, 200)], 42)
    with CaptureQueriesContext(connections[PRICES]) as asked:
        assert starts_s(0, START_US + 10**12, 4) == ([195, 190, 185, 180], True)
    ((from_us, to_us),) = re.findall(
        r"at >= (\d+) AND at < (\d+) GROUP BY", str(asked.captured_queries)
    )
    assert (int(to_us) - int(from_us)) == 20_000_000
    assert len(asked) == 3
