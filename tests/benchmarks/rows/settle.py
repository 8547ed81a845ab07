"""A column with many bets is paid while other traders go on betting.

The column's bets are put to the writer over its own socket, as entry does after checking
signatures (entry is the row `bets`); deciding and paying them is the platform's own.
"""

import os
import threading
import time
from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import numpy as np

from tests.benchmarks import bench, load
from tests.benchmarks.bench import Bench
from tests.benchmarks.report import Figure, Scale
from tests.stack import Stack

BETS: Final = {Scale.CI: 2_000, Scale.NORMAL: 30_000, Scale.LONG: 100_000}
MEANWHILE: Final = {Scale.CI: 100, Scale.NORMAL: 1_000, Scale.LONG: 1_000}
OPEN_S: Final = 45  # how far ahead the column lies when its bets are placed
PATIENCE_S: Final = 60
COUNTED: Final = 100_000  # the budget's column


def run(scale: Scale) -> list[Figure]:
    count, rate = BETS[scale], MEANWHILE[scale]
    with bench.platform(max(load.wallets_for(rate), count // 8)) as bench_:
        column = (int(time.time()) + OPEN_S) // load.LIMITS.column_s * load.LIMITS.column_s
        placed = _place(bench_, column, count)
        end_s = column + load.LIMITS.column_s
        watch = _Watch(bench_.running, column, end_s)
        watch.start()
        # Signed just before, the load begins before the column ends and outlasts its payment.
        time.sleep(max(0.0, end_s - 12 - time.time()))
        stretch = bench_.stretch(load.steady(rate, 20))
        watch.join()
        meanwhile = _during(stretch.sent, watch)
    took_s = watch.finished_s - watch.began_s
    name = f"{placed:,} bets of a column"
    return [
        Figure("settle", f"{name}: paid in", took_s, "s", *_bounds(scale), more_is_better=False),
        Figure("settle", f"{name}: paid a second", placed / took_s, "bets/s", 20_000, 50_000),
        Figure("settle", f"{name}: all paid after its end", watch.finished_s - end_s, "s"),
        Figure(
            "settle",
            f"{name}: p99 of {rate:,} bets/s meanwhile",
            meanwhile,
            "ms",
            150,
            100,
            more_is_better=False,
            detail=stretch.detail(),
        ),
    ]


def _bounds(scale: Scale) -> tuple[float | None, float | None]:
    return (5, 2) if BETS[scale] == COUNTED else (None, None)


def _place(bench_: Bench, column: int, count: int) -> int:
    """Have bets on the column's cells accepted; returns how many were."""
    with load.database(bench_.running) as connection:
        ids = [
            row[0]
            for row in connection.execute("SELECT id FROM wallet_wallet WHERE kind = 'player'")
        ]
    lows = load.usable_lows(int(time.time()) // load.LIMITS.column_s, column)
    pairs = list(product(ids, lows))[:count]
    commands = [_place_bet(wallet_id, column, low) for wallet_id, low in pairs]
    outcomes = load.ask_writer(bench_.running, commands)
    return sum(outcome[0] == "placed" and outcome[1] is None for outcome in outcomes)


def _place_bet(wallet_id: int, column: int, low: int) -> tuple[Any, ...]:
    cell = (column, low, low + load.LIMITS.band_cents)
    nonce = os.urandom(16).hex()
    now_s = int(time.time())
    signed = (load.STAKE_MICROS, load.MIN_RATE_BPS, nonce, now_s, b"\0" * 65)
    return ("place_bet", wallet_id, 0, *cell, *signed)


class _Watch(threading.Thread):
    """When the column's first and last bet were resolved, in Unix seconds."""

    def __init__(self, running: Stack, column: int, end_s: int) -> None:
        super().__init__()
        self._running = running
        self._column = column
        self._end_s = end_s
        self.began_s = self.finished_s = float("nan")

    def run(self) -> None:
        for waiting in self._counts():
            if waiting == 0:
                break
        with load.database(self._running) as connection:
            first, last = connection.execute(
                "SELECT min(resolved_at), max(resolved_at) FROM bets_bet WHERE column_start = ?"
                " AND status IN ('won', 'lost', 'void')",
                [self._column],
            ).fetchone()
        self.began_s, self.finished_s = first / load.US_PER_S, last / load.US_PER_S

    def _counts(self) -> Iterator[int]:
        """How many still wait, from the column's end on."""
        time.sleep(max(0.0, self._end_s - time.time()))
        with load.database(self._running) as connection:
            while time.time() < self._end_s + PATIENCE_S:
                (waiting,) = connection.execute(
                    "SELECT count(*) FROM bets_bet WHERE column_start = ?"
                    " AND taken_low_cents IS NOT NULL AND resolved_at IS NULL",
                    [self._column],
                ).fetchone()
                yield waiting
                time.sleep(0.1)


def _during(sent: load.Sent, watch: _Watch) -> float:
    """p99 of the bets that were under way while the column was paid."""
    answered_s = (sent.start_us + sent.outcomes["answered_us"]) / load.US_PER_S
    due_s = answered_s - sent.outcomes["latency_us"] / load.US_PER_S
    during = (answered_s >= watch.began_s) & (due_s <= watch.finished_s)
    accepted = sent.outcomes["latency_us"][during & (sent.outcomes["status"] == 202)]
    return float(np.quantile(accepted, 0.99)) / 1_000 if len(accepted) else float("nan")
