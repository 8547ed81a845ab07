"""From nothing to 5 000 bets/s in ten seconds, held for five, then 1 000/s again."""

from typing import Any, Final

import numpy as np

from tests.benchmarks import bench, load
from tests.benchmarks.bench import Stretch
from tests.benchmarks.report import Figure, Scale

PEAK: Final = {Scale.CI: 500, Scale.NORMAL: 5_000, Scale.LONG: 5_000}
CLIMB_S: Final = {Scale.CI: 2, Scale.NORMAL: 10, Scale.LONG: 10}
HELD_S: Final = {Scale.CI: 1, Scale.NORMAL: 5, Scale.LONG: 20}
AFTER_S: Final = {Scale.CI: 3, Scale.NORMAL: 12, Scale.LONG: 20}
CALM: Final = 5  # the peak divided by this is what normal looks like afterwards
NORMAL_WITHIN_S: Final = 10


def run(scale: Scale) -> list[Figure]:
    peak, climb_s = PEAK[scale], CLIMB_S[scale]
    peak_s = climb_s + HELD_S[scale]
    due_us = np.concatenate(
        [
            load.ramp(peak, climb_s, peak_s),
            peak_s * load.US_PER_S + load.steady(peak / CALM, AFTER_S[scale]),
        ]
    )
    with bench.platform(load.wallets_for(peak)) as bench_:
        pids = bench_.running.pids()
        stretch = bench_.stretch(due_us)
        crashed = len(set(pids) - set(bench_.running.pids()))
        bench_.check()
    return _figures(stretch, due_us / load.US_PER_S, peak, peak_s, crashed)


def _figures(stretch: Stretch, due_s: Any, peak: int, peak_s: int, crashed: int) -> list[Figure]:
    outcomes = stretch.sent.outcomes
    status = outcomes["status"]
    climbing = due_s < peak_s
    settled = due_s >= peak_s + min(NORMAL_WITHIN_S, (due_s[-1] - peak_s) / 2)
    refused = float(np.isin(status, (429, 503)).sum())
    wrong = float(((status != 202) & ~np.isin(status, (422, 429, 503))).sum())
    name = f"0 to {peak:,}/s"
    return [
        Figure("spike", f"{name}: processes that crashed", crashed, "", 0, 0, False),
        Figure("spike", f"{name}: neither accepted nor told when", wrong, "bets", 0, 0, False),
        Figure("spike", f"{name}: refused with 503", refused, "bets", None, 0, False),
        Figure("spike", f"{name}: p99", _p99_ms(outcomes[climbing]), "ms", more_is_better=False),
        Figure(
            "spike",
            f"{name}: p99 from {NORMAL_WITHIN_S} s after it",
            _p99_ms(outcomes[settled]),
            "ms",
            100,
            None,
            more_is_better=False,
            detail=stretch.detail(),
        ),
    ]


def _p99_ms(outcomes: Any) -> float:
    accepted = outcomes["latency_us"][outcomes["status"] == 202]
    return float(np.quantile(accepted, 0.99)) / 1_000 if len(accepted) else float("nan")
