"""A platform under load, measured: what the rows that place bets have in common."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from taptrading.limits import LIMITS
from tests import stack
from tests.benchmarks import load, observer, procs
from tests.benchmarks.load import Load, Sent, Wallets
from tests.benchmarks.report import Figure
from tests.stack import Stack

LISTENERS: Final = 32
PRICED_WITHIN_S: Final = LIMITS.pricing_patience_ms / 1_000 + 0.5
QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


@dataclass
class Bench:
    """A running platform with funded wallets, and what was sent to it."""

    running: Stack
    wallets: Wallets
    load: Load
    sent: list[Sent]

    def stretch(
        self, due_us: Any, *, at_once: bool = False, connections: int = load.CONNECTIONS
    ) -> "Stretch":
        """Sign bets for these times, send them, and look at the platform meanwhile."""
        with observer.listening(self.running, self.wallets, LISTENERS) as heard:
            path, start_us = self.load.sign(due_us, at_once)
            before = metrics(self.running)
            with procs.watched(self.running) as uses:
                sent = self.load.send(path, start_us, connections)
            after = metrics(self.running)
            time.sleep(PRICED_WITHIN_S)
        self.sent.append(sent)
        counted = {name: value - before.get(name, 0) for name, value in after.items()}
        return Stretch(sent, uses, counted, observer.confirmed_after_ms(self.running, heard, sent))

    def check(self) -> dict[str, int]:
        """The books, after everything: every 202 has its row, and the ledger verifies. Raises
        AssertionError."""
        books = load.check_books(self.running, self.sent)
        done = subprocess.run(
            [sys.executable, "manage.py", "verify_ledger"],
            cwd=stack.ROOT,
            env=os.environ | {"DATA_DIR": str(self.running.folder / "data")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"the ledger does not verify:\n{done.stdout}{done.stderr}"
        return books


@contextmanager
def platform(wallets: int, **settings: str) -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory() as folder,
        stack.running(Path(folder), **load.SETTINGS, **settings) as running,
    ):
        opened = load.open_wallets(running, wallets)
        sending = Load(running, opened)
        try:
            yield Bench(running, opened, sending, [])
        finally:
            sending.close()


def metrics(running: Stack) -> dict[str, float]:
    """What all processes have counted so far, by name and labels."""
    lines = httpx.get(running.url + "/metrics", timeout=10).text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@dataclass
class Stretch:
    """One stretch of load. `counted` is what the metrics grew by, `confirmed_ms` how long after
    its tick each of the listeners' bets was confirmed to them."""

    sent: Sent
    uses: dict[str, procs.Use]
    counted: dict[str, float]
    confirmed_ms: list[float]

    def detail(self) -> dict[str, Any]:
        sent, counted = self.sent, self.counted
        flushes = counted.get("writer_flush_seconds_count", 0.0)
        return {
            "offered": len(sent.outcomes),
            "accepted_per_s": round(sent.rate),
            **{f"{name}_ms": round(sent.latency_ms(share), 2) for name, share in QUANTILES},
            "answers": sent.answers(),
            "broken_connections": sent.broken,
            "confirmed_p99_ms": round(observer.quantile(self.confirmed_ms, 0.99), 1),
            "flushes_per_s": round(flushes / sent.took_s, 1),
            "mean_batch": round(counted.get("writer_batch_size_sum", 0.0) / max(flushes, 1), 1),
            "mean_flush_ms": round(
                1_000 * counted.get("writer_flush_seconds_sum", 0.0) / max(flushes, 1), 2
            ),
            "busy": counted.get("writer_busy_total", 0.0),
            "queue_full": counted.get("entry_queue_full_total", 0.0),
            "cpu": {name: round(use.cpu_share, 2) for name, use in self.uses.items()}
            | {"sender": round(sent.cpu_s / sent.took_s, 2)},
            "rss_mib": {name: round(use.rss_mib[-1]) for name, use in self.uses.items()},
        }

    def figures(
        self, row: str, name: str, bounds: "dict[str, Bound] | None" = None
    ) -> list[Figure]:
        """Rate and percentiles, with what the budget says of them."""
        values = {"accepted": (self.sent.rate, "bets/s", True)}
        values |= {
            quantile: (self.sent.latency_ms(share), "ms", False) for quantile, share in QUANTILES
        }
        values["confirmed p99"] = (observer.quantile(self.confirmed_ms, 0.99), "ms", False)
        refused = float((self.sent.outcomes["status"] != 202).sum())
        values["not accepted"] = (refused, "bets", False)
        bounds = bounds or {}
        return [
            Figure(
                row,
                f"{name}: {what}",
                value,
                unit,
                *bounds.get(what, (None, None)),
                more_is_better=more,
                detail=self.detail() if what == "accepted" else {},
            )
            for what, (value, unit, more) in values.items()
        ]


Bound = tuple[float | None, float | None]
