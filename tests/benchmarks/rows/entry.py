"""What a bet costs the web process without kernel and writer, and what bounds that: one core's
signature recoveries."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Final

from tests.benchmarks.report import Figure, Scale
from tests.stack import ROOT

BETS: Final = {Scale.CI: 5_000, Scale.NORMAL: 25_000, Scale.LONG: 100_000}


def run(scale: Scale) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tap-bench-") as folder:
        environment = {
            "DATA_DIR": folder,
            "CLOCK_FILE": "",
            "DJANGO_SETTINGS_MODULE": "taptrading.settings",
            "TAP_ADDRESS_RATE_PER_S": "1000000",
            "TAP_ADDRESS_BURST": "1000000",
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.entry_alone", str(BETS[scale])],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    found = json.loads(done.stdout)
    parts = found["parts_us"]
    recovery_us = parts["text, hash, recovery"]
    return [
        _lower("a bet over HTTP, without kernel and writer", found["http_us"], parts),
        _lower("a bet over a WebSocket, without socket and writer", found["socket_us"], {}),
        _lower("of these: text, hash and recovery of the signer", recovery_us, {}),
        Figure("entry", "recoveries on one core, the bound", 1e6 / recovery_us, "/s"),
        Figure("entry", "bets over HTTP on one core", 1e6 / found["http_us"], "/s"),
        Figure("entry", "bets over HTTP / recoveries", recovery_us / found["http_us"], "x"),
    ]


def _lower(name: str, value: float, detail: dict[str, float]) -> Figure:
    return Figure("entry", name, value, "us", more_is_better=False, detail=detail)
