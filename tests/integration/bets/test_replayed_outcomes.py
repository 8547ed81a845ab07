"""A recording replayed twice, at two times: the same outcomes of the same cells, byte for byte."""

import hashlib
import json
from pathlib import Path

import pytest

from bets.grid import band_lows
from bets.resolution import Vertex, outcome, resolve_column
from pricefeed.pipeline import Pipeline
from pricefeed.sources.replay import ReplaySource
from taptrading.limits import LIMITS
from tests.recordings import BINANCE, KRAKEN_TRADES, recording

RECORDINGS = {"binance": BINANCE, "kraken": KRAKEN_TRADES}
MINUTES = 8


async def outcomes(paths: list[Path], now_us: int) -> list[str]:
    """One line a column, its times net of the shift: the evidence's hash, and every cell."""
    source = ReplaySource(paths, lambda name, reason: None)
    pipeline = Pipeline([source], 1)
    first_ms = await source.start(now_us) // 100_000 * 100 + 100
    shift_s = source.shift_us // 1_000_000
    ticks: list[Vertex] = []
    for seq, mark_ms in enumerate(range(first_ms, first_ms + MINUTES * 60_000, 100), 1):
        priced = pipeline.step(mark_ms)
        if priced is not None:
            ticks.append(Vertex(seq, mark_ms, priced.price_cents, mark_ms * 1_000, "replay"))
    lines = []
    end_us = ticks[-1].recorded_at_us
    for column_start in range(ticks[0].at_ms // 5_000 * 5 + 5, ticks[-1].at_ms // 1_000 - 5, 5):
        near = [v for v in ticks if abs(v.at_ms - column_start * 1_000) < 20_000]
        decision = resolve_column(column_start, near, end_us)
        assert decision is not None
        around = decision.open_cents or ticks[0].price_cents
        cells = {low: outcome(decision, low, low + LIMITS.band_cents) for low in band_lows(around)}
        path = [decision.low_cents, decision.high_cents, decision.close_cents, decision.ticks]
        lines.append(json.dumps([column_start - shift_s, decision.state, path, cells]))
    return lines


@pytest.mark.parametrize("name", RECORDINGS)
async def test_second_replay_gives_identical_outcomes(name: str) -> None:
    paths = [recording(file) for file in RECORDINGS[name]]
    first = await outcomes(paths, 1_764_000_003_000_000)
    second = await outcomes(paths, 1_775_000_001_234_567)
    assert len(first) > 60
    assert '"HIT"' in "".join(first)
    assert '"MISS"' in "".join(first)
    digests = [hashlib.sha256("\n".join(lines).encode()).hexdigest() for lines in (first, second)]
    assert first == second
    assert digests[0] == digests[1]
