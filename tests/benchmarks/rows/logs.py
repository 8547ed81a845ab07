"""What the platform writes to its log while every decision about every bet can be followed, and
what that costs: the same load with the bets in the log, as in production, and without them.

A bet is counted with all its words, up to its outcome: one that is under way at the end has its
last ones still to come, so the row waits for its column.
"""

import contextlib
import sqlite3
import time
from typing import Final

from tests.benchmarks import bench, load
from tests.benchmarks.bench import Bench
from tests.benchmarks.report import Figure, Scale

COUNTS: Final = {Scale.CI: 4_000, Scale.NORMAL: 30_000, Scale.LONG: 120_000}
GUESS: Final = {Scale.CI: 4_000, Scale.NORMAL: 7_000, Scale.LONG: 7_000}
KEPT: Final = {"LOG_FORMAT": "json", "LOG_FILE_MIB": "4096"}
CLIMAX: Final = 10_000  # bets a second that the budget speaks of
RESOLVED_WITHIN_S: Final = 120
UNRESOLVED: Final = "SELECT count(*) FROM bets_bet WHERE status IN ('accepted', 'confirmed')"


def run(scale: Scale) -> list[Figure]:
    rates = {}
    for bet_log in ("0", "1"):
        with bench.platform(load.wallets_for(GUESS[scale]), BET_LOG=bet_log, **KEPT) as bench_:
            before = _log(bench_)
            due_us = load.steady(GUESS[scale], COUNTS[scale] / GUESS[scale])
            stretch = bench_.stretch(due_us, at_once=True)
            rates[bet_log] = stretch.sent.rate
            _wait_until_resolved(bench_)
            lines = _log(bench_)[len(before) :].splitlines()
            bench_.check()
    accepted = int((stretch.sent.outcomes["status"] == 202).sum())
    bytes_a_bet = sum(len(line) + 1 for line in lines) / accepted
    return [
        Figure("logs", "a bet, all its words", bytes_a_bet, "bytes", more_is_better=False),
        Figure("logs", "bets a line", accepted / len(lines), "bets"),
        Figure(
            "logs",
            f"at {CLIMAX:,} bets/s",
            bytes_a_bet * CLIMAX / 1e6,
            "MB/s",
            more_is_better=False,
        ),
        Figure("logs", "saturating, bets in the log", rates["1"], "bets/s"),
        Figure("logs", "with them / without them", rates["1"] / rates["0"], "x"),
    ]


def _log(bench_: Bench) -> str:
    return (bench_.running.folder / "data" / "log" / "platform.log").read_text()


def _wait_until_resolved(bench_: Bench) -> None:
    """Raises AssertionError when that takes longer than any column is away."""
    deadline = time.monotonic() + RESOLVED_WITHIN_S
    file = bench_.running.folder / "data" / "taptrading.sqlite3"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        while database.execute(UNRESOLVED).fetchone()[0]:
            assert time.monotonic() < deadline, "bets are not resolved"
            time.sleep(0.5)
