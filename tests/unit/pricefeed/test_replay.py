"""Recordings of each form, written here; what they are shifted by and how they end."""

import gzip
import json
from pathlib import Path

import pytest

from pricefeed.sources.replay import ReplaySource, read_events
from pricefeed.ticks import NANOS_PER_CENT, Event

S = 1_000_000
NOW_US = 1_764_000_003 * S
FIRST_US = 1_700_000_001 * S


def packed(path: Path, *lines: str) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines(line + "\n" for line in lines)
    return path


def trades(path: Path, *rows: tuple[int, str]) -> Path:
    return packed(path, "ts_ms,price,qty", *(f"{ts_ms},{price},0.1" for ts_ms, price in rows))


def binance_line(at_us: int, u: int, price: str) -> str:
    data = {"u": u, "s": "BTCUSDT", "b": price, "a": price}
    return f"{at_us * 1_000} {json.dumps({'stream': 'btcusdt@bookTicker', 'data': data})}"


def never(source: str, reason: str) -> None:
    pytest.fail(f"{source} refused: {reason}")


def test_read_trades_when_seconds_lie_between_then_a_heartbeat_each(tmp_path: Path) -> None:
    path = trades(tmp_path / "t.csv.gz", (1_700_000_001_000, "100"), (1_700_000_003_500, "101.01"))
    assert list(read_events([path], "replay", never)) == [
        Event(FIRST_US, "replay", 10_000 * NANOS_PER_CENT),
        Event(FIRST_US + S, "replay", None),
        Event(FIRST_US + 2 * S, "replay", None),
        Event(FIRST_US + 2_500_000, "replay", 10_101 * NANOS_PER_CENT),
    ]


def test_read_trades_when_lines_are_bad_then_counted_and_left_out(tmp_path: Path) -> None:
    refused: list[str] = []
    path = trades(
        tmp_path / "t.csv.gz",
        (1_700_000_001_000, "100"),
        (1_700_000_001_100, "0"),
        (1_700_000_000_000, "99"),
        (1_700_000_001_200, "101"),
    )
    events = list(read_events([path], "replay", lambda _, reason: refused.append(reason)))
    assert [event.price_nanos // NANOS_PER_CENT for event in events if event.price_nanos] == [
        10_000,
        10_100,
    ]
    assert refused == ["price_not_positive", "time_regression"]


def test_read_capture_when_files_are_joined_then_the_guard_goes_on(tmp_path: Path) -> None:
    refused: list[str] = []
    first = packed(tmp_path / "a.jsonl.gz", binance_line(FIRST_US, 10, "100"))
    second = packed(
        tmp_path / "b.jsonl.gz",
        binance_line(FIRST_US + 1, 10, "101"),
        binance_line(FIRST_US + 2, 11, "102"),
    )
    events = read_events([first, second], "replay", lambda _, reason: refused.append(reason))
    assert [event.received_us - FIRST_US for event in events] == [0, 2]
    assert refused == ["sequence_regression"]


def test_read_session_when_it_names_what_was_sent_then_only_frames_are_read(
    tmp_path: Path,
) -> None:
    trade = ["9482.40000", "0.01", "1618678150.826417", "s", "l", ""]
    path = packed(
        tmp_path / "KRAKEN.ws.txt.gz",
        "wss://ws.kraken.com <-> 1618678132.368463",
        'wss://ws.kraken.com <- 1618678132.83097: {"event":"subscribe"}',
        f"1618678150.8565571: {json.dumps([1, [trade], 'trade', 'XBT/USD'])}",
        '1618678151.607661: {"event":"heartbeat"}',
    )
    assert list(read_events([path], "replay", never)) == [
        Event(1_618_678_150_856_557, "replay", 948_240 * NANOS_PER_CENT),
        Event(1_618_678_151_607_661, "replay", None),
    ]


async def test_start_when_now_then_shifted_by_whole_columns_with_a_warm_up_behind(
    tmp_path: Path,
) -> None:
    path = trades(tmp_path / "t.csv.gz", (1_700_000_001_000, "100"), (1_700_000_090_000, "101"))
    source = ReplaySource([path], never)
    since_us = await source.start(NOW_US)
    assert source.shift_us % (5 * S) == 0
    assert since_us == FIRST_US + source.shift_us
    assert 60 * S <= NOW_US - since_us <= 66 * S


async def test_drain_when_asked_for_an_instant_then_nothing_later_comes(tmp_path: Path) -> None:
    path = trades(tmp_path / "t.csv.gz", (1_700_000_001_000, "100"), (1_700_000_001_900, "101"))
    source = ReplaySource([path], never)
    first_us = await source.start(NOW_US)
    assert len(source.drain(first_us + 899_999)) == 1
    (event,) = source.drain(first_us + 900_000)
    assert event.price_nanos == 10_100 * NANOS_PER_CENT
    assert source.drain(first_us + 10 * S) == []  # it has ended


async def test_start_when_the_recording_holds_nothing_then_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no event"):
        await ReplaySource([trades(tmp_path / "t.csv.gz")], never).start(NOW_US)
    with pytest.raises(OSError, match="absent"):
        await ReplaySource([tmp_path / "absent.csv.gz"], never).start(NOW_US)
