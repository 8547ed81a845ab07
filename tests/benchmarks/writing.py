"""The writer alone, measured in a process of its own on a database with a past."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import history
from tests.servers import valkey
from tests.stack import ROOT


class Measured(NamedTuple):
    """What `bets` bets took in each part of their life: seconds, and processor seconds.

    `parts_us` are microseconds a bet, `wal_bytes` what a bet added to the write-ahead log.
    """

    bets: int
    place_s: float
    place_cpu_s: float
    price_s: float
    settle_s: float
    batch_p50_ms: float
    batch_p99_ms: float
    settle_p99_ms: float
    wal_bytes: dict[str, float]
    parts_us: dict[str, float]


@contextmanager
def past(bets: int, wallets: int) -> Iterator[Path]:
    """A database with this much history."""
    with tempfile.TemporaryDirectory(prefix="tap-bench-") as folder:
        path = history.migrated(Path(folder))
        history.write(path, bets, history.some_addresses(wallets))
        yield path


def measure(database: Path, bets: int, batch: int, *, parts: bool = False) -> Measured:
    """Place, price and settle so many bets, in frames of `batch`. `parts` costs some of the speed:
    it puts a stopwatch into each part."""
    with tempfile.TemporaryDirectory(prefix="tap-bench-") as folder, valkey(Path(folder)) as url:
        environment = {
            "DATA_DIR": str(database.parent),
            "REDIS_URL": url,
            "CLOCK_FILE": "",
            "DJANGO_SETTINGS_MODULE": "taptrading.settings",
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
            "TAP_BET_RATE_PER_S": "100000",
            "TAP_BET_BURST": "100000",
            "LOG_LEVEL": "WARNING",
        }
        options = [str(bets), str(batch), str(int(parts))]
        found = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.writer_alone", *options],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    return Measured(**json.loads(found.stdout))
