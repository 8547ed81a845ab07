"""A long past is archived while traders go on betting: `manage.py archive` as an operator runs it,
at the low priority that the worker gives it, into a folder on the same disk.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests import stack
from tests.benchmarks import history, load
from tests.benchmarks.bench import Bench
from tests.benchmarks.load import Load
from tests.benchmarks.report import Figure, Scale

BETS: Final = {Scale.CI: 10_000, Scale.NORMAL: 1_000_000, Scale.LONG: 1_000_000}
MEANWHILE: Final = {Scale.CI: 100, Scale.NORMAL: 1_000, Scale.LONG: 1_000}
LOAD_S: Final = {Scale.CI: 10, Scale.NORMAL: 75, Scale.LONG: 75}
WALLETS: Final = 2_500
COUNTED: Final = 1_000_000  # the budget's past
_AGE_S: Final = 8 * 86_400
_HEAD_START_S: Final = 2.0
_STEP: Final = re.compile(r"now=(\w+) s=([0-9.]+)")


def run(scale: Scale) -> list[Figure]:
    count, rate = BETS[scale], MEANWHILE[scale]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = history.migrated(folder)
        addresses = history.some_addresses(min(WALLETS, count // 20))
        written = history.write(path, count, addresses, int(time.time()) - _AGE_S)
        with stack.running(folder, **load.SETTINGS) as running:
            wallets = load.open_wallets(running, load.wallets_for(rate))
            bench_ = Bench(running, wallets, Load(running, wallets), [])
            try:
                archive, sent = _both(bench_, rate, LOAD_S[scale])
            finally:
                bench_.load.close()
            bench_.check()
    name = f"{count:,} bets"
    detail = {**written._asdict(), **archive.told, "steps_s": archive.steps_s}
    return [
        Figure(
            "archive",
            f"{name}: archived in",
            archive.took_s,
            "s",
            *((60, 30) if count == COUNTED else (None, None)),
            more_is_better=False,
            detail=detail,
        ),
        Figure(
            "archive",
            f"{name}: p99 of {rate:,} bets/s meanwhile",
            _during(sent, archive),
            "ms",
            100,
            50,
            more_is_better=False,
            detail={"answers": sent.answers(), "p99_ms": sent.latency_ms(0.99)},
        ),
    ]


def _both(bench_: Bench, rate: int, seconds: int) -> "tuple[_Archive, load.Sent]":
    path, start_us = bench_.load.sign(load.steady(rate, seconds))
    archive = _Archive(bench_.running, start_us / load.US_PER_S + _HEAD_START_S)
    archive.start()
    sent = bench_.load.send(path, start_us)
    bench_.sent.append(sent)
    archive.join()
    assert archive.told["bets"] > 0, archive.told
    return archive, sent


class _Archive(threading.Thread):
    """The command, begun at an instant; when it began and ended, and what it told."""

    def __init__(self, running: stack.Stack, at_s: float) -> None:
        super().__init__()
        self._data = running.folder / "data"
        self._at_s = at_s
        self.began_s = self.ended_s = float("nan")
        self.told: dict[str, Any] = {"bets": 0}
        self.steps_s: dict[str, float] = {}

    @property
    def took_s(self) -> float:
        return self.ended_s - self.began_s

    def run(self) -> None:
        time.sleep(max(0.0, self._at_s - time.time()))
        self.began_s = time.time()
        done = subprocess.run(
            ["nice", "-n", "10", sys.executable, "manage.py", "archive", "--json"],
            cwd=stack.ROOT,
            env=os.environ | {"DATA_DIR": str(self._data)},
            capture_output=True,
            text=True,
        )
        self.ended_s = time.time()
        if done.returncode != 0:
            self.told["failed"] = done.stderr[-2_000:]
            return
        segments = json.loads(done.stdout)["segments"]
        names = ("bets", "entries", "raw_bytes", "packed_bytes")
        self.told = {name: sum(segment[name] for segment in segments) for name in names}
        self.steps_s = {state: float(took) for state, took in _STEP.findall(done.stderr)}


def _during(sent: load.Sent, archive: _Archive) -> float:
    """p99 of the bets that were under way while the archive was."""
    answered_s = (sent.start_us + sent.outcomes["answered_us"]) / load.US_PER_S
    due_s = answered_s - sent.outcomes["latency_us"] / load.US_PER_S
    during = (answered_s >= archive.began_s) & (due_s <= archive.ended_s)
    accepted = sent.outcomes["latency_us"][during & (sent.outcomes["status"] == 202)]
    return float(np.quantile(accepted, 0.99)) / 1_000 if len(accepted) else float("nan")
