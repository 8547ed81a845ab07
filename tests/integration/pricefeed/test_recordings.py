"""The recorded market data and the traps it holds on purpose (see its SOURCES.md)."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from pricefeed.breaker import Breaker
from pricefeed.pipeline import Pipeline, Priced
from pricefeed.sources.binance import BinanceReader
from pricefeed.sources.coinbase import CoinbaseReader
from pricefeed.sources.kraken import KrakenReader
from pricefeed.sources.replay import ReplaySource, read_events
from pricefeed.ticks import Event, Gate, Reader
from tests.recordings import BINANCE, KRAKEN_TRADES, recording

BINANCE_TRADES = ("normalized/binance_spot_btcusdt_20240808_2354.csv.gz",)
NOW_US = 1_764_000_003_000_000
CENT = 10_000_000


def never(source: str, reason: str) -> None:
    pytest.fail(f"{source} refused: {reason}")


async def ticks_of(files: tuple[str, ...], now_us: int) -> list[Priced]:
    """Every tick from the recording's first mark to its end, net of the shift."""
    source = ReplaySource([recording(name) for name in files], never)
    pipeline = Pipeline([source], 1)
    first_us = await source.start(now_us)
    shift_ms = source.shift_us // 1_000
    marks = range(first_us // 100_000 * 100 + 100, first_us // 1_000 + 3_700_000, 100)
    found, silent = [], 0
    for mark_ms in marks:
        tick = pipeline.step(mark_ms)
        silent = 0 if tick else silent + 1
        if silent > 100:
            break
        if tick:
            found.append(tick._replace(at_ms=tick.at_ms - shift_ms))
    return found


@pytest.mark.parametrize(
    ("files", "count_min"), [(BINANCE, 6_490), (KRAKEN_TRADES, 35_000)], ids=["binance", "kraken"]
)
async def test_replay_when_shifted_otherwise_then_the_same_ticks_bit_for_bit(
    files: tuple[str, ...], count_min: int
) -> None:
    first = await ticks_of(files, NOW_US)
    second = await ticks_of(files, NOW_US + 777_777_777_777)
    assert len(first) >= count_min
    assert repr(first) == repr(second)
    assert first[-1].sigma_ppm > 0


def test_read_capture_when_its_clock_runs_behind_the_venue_s_then_nothing_is_refused() -> None:
    # Trap 1: received more than a second "before" it was sent. Only receive times count.
    behind_ms = []
    with gzip.open(recording(BINANCE[0]), "rt") as lines:
        for line, _ in zip(lines, range(2_000), strict=False):
            received_ns, _, raw = line.partition(" ")
            sent_ms = json.loads(raw).get("data", {}).get("E")
            if sent_ms:
                behind_ms.append(sent_ms - int(received_ns) // 1_000_000)
    assert 1_000 < min(behind_ms) < max(behind_ms) < 1_300
    events = list(read_events([recording(BINANCE[0])], "replay", never))
    assert len(events) > 41_000
    assert all(a.received_us <= b.received_us for a, b in pairwise(events))


def test_read_trades_when_most_share_a_millisecond_then_none_is_lost() -> None:
    # Trap 2: order is by trade id; equal times are no regression.
    with gzip.open(recording(BINANCE_TRADES[0]), "rt") as lines:
        rows = [line.split(",") for line in list(lines)[1:]]
    same = sum(a[0] == b[0] for a, b in pairwise(rows)) / len(rows)
    assert same == pytest.approx(0.64, abs=0.01)
    events = read_events([recording(BINANCE_TRADES[0])], "replay", never)
    assert sum(event.price_nanos is not None for event in events) == len(rows) == 19_904


def read_vectors(name: str, reader: Reader) -> tuple[list[list[Event]], list[str]]:
    refused: list[str] = []
    gate = Gate("venue", reader, refused.append, limit_bytes=100_000)
    lines = recording(f"vectors/{name}").read_text().splitlines()
    return [gate.take(line, 1) for line in lines], refused


def prices(events: list[list[Event]]) -> list[int]:
    return [event.price_nanos for frame in events for event in frame if event.price_nanos]


def test_read_kraken_v2_vectors_when_numbers_snapshots_and_zero_then_each_as_it_must() -> None:
    # Traps 3, 4 and 5: decimals exactly; the snapshot and the zero of 1970 give nothing.
    events, refused = read_vectors("tardis_kraken_v2.jsonl", KrakenReader())
    assert prices(events) == [10_010 * CENT, 10_000 * CENT]  # the trade, the middle
    assert events[0] == events[-1] == []
    assert refused == ["wrong_symbol"]
    own, refused = read_vectors("tardis_kraken_v2.jsonl", KrakenReader("ANETx/USD"))
    assert prices(own) == []
    assert refused[-1] == "time_absurd"
    events, refused = read_vectors("nautilus_kraken_v2_ws_trade_update.json", KrakenReader())
    assert prices(events) == [10_594_420 * CENT, 10_591_050 * CENT]


def test_read_kraken_v1_vectors_when_arrays_then_decimal_seconds_are_read() -> None:
    # Trap 7.
    events, refused = read_vectors("tardis_kraken_v1.jsonl", KrakenReader())
    assert prices(events) == [4_377_025 * CENT]
    assert set(refused) == {"wrong_symbol"}
    events, _ = read_vectors("tardis_kraken_v1.jsonl", KrakenReader(symbol_v1="XBT/EUR"))
    assert prices(events) == [948_240 * CENT, 948_820 * CENT]
    for name in ("kraken_v1_heartbeat_docs.json", "kraken_v2_heartbeat_docs.json"):
        events, refused = read_vectors(name, KrakenReader())
        assert events[0] == [Event(1, "venue", None)]
        assert refused == []


def test_read_coinbase_vectors_when_iso_microseconds_then_read() -> None:
    # Trap 7; the first ticker of a connection is what subscribing is answered with (trap 5).
    events, refused = read_vectors("tardis_coinbase_exchange.jsonl", CoinbaseReader())
    assert [price / CENT for price in prices(events)] == [5_880_000.5, 1_716_645.5]
    assert refused == ["wrong_symbol"]


def test_read_binance_vectors_when_of_many_symbols_then_only_ours() -> None:
    events, refused = read_vectors("tardis_binance_spot.jsonl", BinanceReader())
    assert [price / CENT for price in prices(events)] == [801_107.5]
    assert set(refused) == {"wrong_symbol"}


@pytest.mark.parametrize(
    ("name", "reader", "most"),
    [
        ("cryptofeed_BINANCE.ws.1.0.txt.gz", BinanceReader("NKNUSDT"), "wrong_symbol"),
        ("cryptofeed_COINBASE.ws.28.0.txt.gz", CoinbaseReader("NMR-EUR"), "wrong_symbol"),
        ("cryptofeed_KRAKEN.ws.48.0.txt.gz", KrakenReader(symbol_v1="SC/EUR"), "wrong_symbol"),
    ],
)
def test_read_session_when_recorded_live_then_no_form_is_unknown(
    name: str, reader: Reader, most: str
) -> None:
    refused: Counter[str] = Counter()
    gate = Gate("venue", reader, lambda reason: refused.update([reason]), limit_bytes=1 << 20)
    with gzip.open(recording(f"raw/{name}"), "rt") as lines:
        for line in lines:
            received_s, _, raw = line.partition(": ")
            if received_s[:1].isdigit():
                gate.take(raw, 1)
    # Prices of small coins are absurd for an index of bitcoin, and that is all.
    assert set(refused) <= {most, "price_absurd"}


def trade_times_ms(name: str) -> Iterator[int]:
    with gzip.open(recording(name), "rt") as lines:
        next(lines)
        for line in lines:
            yield int(line.partition(",")[0])


def suspended(times_ms: list[int]) -> tuple[int, int]:
    """How often the breaker opened on these trades alone, and for how many ms in all.

    Judged at the trades and at the two instants between them at which it can change.
    """
    breaker = Breaker(degraded_ms=3_000, open_ms=10_000, recovery_ms=30_000)
    breaker.tick(times_ms[0])
    openings, total_ms, opened_ms, recovery_ms = 0, 0, None, None
    for before_ms, at_ms in pairwise(times_ms):
        changes = {before_ms + 10_001, at_ms}
        if recovery_ms is not None:
            changes.add(recovery_ms)
        for now_ms in sorted(now for now in changes if before_ms < now <= at_ms):
            if now_ms == at_ms:
                if at_ms - before_ms > 10_000:
                    recovery_ms = at_ms + 30_000
                breaker.tick(at_ms)
            is_open = breaker.judge(now_ms).breaker == "open"
            if is_open and opened_ms is None:
                openings, opened_ms = openings + 1, now_ms
            elif not is_open and opened_ms is not None:
                total_ms, opened_ms = total_ms + now_ms - opened_ms, None
    if opened_ms is not None:
        total_ms += times_ms[-1] - opened_ms
    return openings, total_ms


def test_judge_kraken_hour_when_only_trades_count_then_suspended_most_of_it() -> None:
    # Trap 6: why a heartbeat must keep an unchanged price current.
    times_ms = list(trade_times_ms(KRAKEN_TRADES[0]))
    openings, total_ms = suspended(times_ms)
    assert openings == 27
    assert total_ms / 1_000 == pytest.approx(2_307.8, abs=0.05)
    assert total_ms / (times_ms[-1] - times_ms[0]) == pytest.approx(0.643, abs=0.0005)


def test_judge_binance_minutes_when_only_trades_count_then_never_suspended() -> None:
    assert suspended(list(trade_times_ms(BINANCE_TRADES[0]))) == (0, 0)


async def test_replay_kraken_hour_when_heartbeats_are_implied_then_no_mark_is_missing() -> None:
    ticks = await ticks_of(KRAKEN_TRADES, NOW_US)
    gaps_ms = {after.at_ms - before.at_ms for before, after in pairwise(ticks)}
    assert gaps_ms == {100}
