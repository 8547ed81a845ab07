"""Price ticks to thousands of WebSocket connections of one web process.

Latency runs from a tick's 100 ms mark to its arrival at the client, so it holds everything:
pricing, recording, the channel layer and the fan-out. All connections of a step are opened at
once, as after a restart. The client is a small C program on the same cores.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.benchmarks.procs import Use, watched
from tests.benchmarks.report import Figure, Scale
from tests.stack import Stack, running

BUDGET_MS: Final = 100.0
MUST: Final = 2_000
AIM: Final = 5_000
SETTLE_S: Final = 1.0
PRICE: Final = '"price"'
PRICE_AND_GRID: Final = '"price","grid"'


class Step(NamedTuple):
    sockets: int
    channels: str = PRICE


class Found(NamedTuple):
    """What one step showed: the client's two lines of JSON, the processes, memory of web."""

    step: Step
    opened: dict[str, Any]
    heard: dict[str, Any]
    uses: dict[str, Use]
    grown_bytes: int

    @property
    def name(self) -> str:
        grid = " and grid" if "grid" in self.step.channels else ""
        return f"{self.step.sockets:,} sockets, price{grid}"

    @property
    def lost(self) -> int:
        """Connections that were not let in, or did not stay."""
        still_open = int(self.opened["connected"] + self.opened["ended"] - self.heard["ended"])
        return self.step.sockets - still_open

    def detail(self) -> dict[str, Any]:
        cpu = {name: round(use.cpu_share, 3) for name, use in self.uses.items()}
        return {"opened": self.opened, **self.heard, "cpu": cpu}


_STEPS: Final = {
    Scale.CI: ([Step(500)], 1.0),
    Scale.NORMAL: ([Step(2_000), Step(5_000)], 4.0),
    Scale.LONG: (
        [Step(n, c) for c in (PRICE, PRICE_AND_GRID) for n in (1_000, 2_000, 5_000, 7_500, 9_900)],
        30.0,
    ),
}


def run(scale: Scale) -> list[Figure]:
    steps, seconds = _STEPS[scale]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "listener"
        source = Path(__file__).parent.parent / "listener.c"
        subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
        found = [_measure(program, Path(folder) / str(i), s, seconds) for i, s in enumerate(steps)]
    figures = [figure for one in found for figure in _figures(one)]
    return figures if scale is Scale.CI else [_reached(found), *figures]


def _measure(program: Path, folder: Path, step: Step, seconds: float) -> Found:
    """One step on a platform of its own: memory that an earlier step left would be no growth."""
    with running(folder) as stack:
        stack.wait_for("/api/v1/price")
        web = stack.pid_of("uvicorn")
        before = _rss_bytes(web)
        words = [program, str(stack.port), str(step.sockets), str(seconds), step.channels]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            opened = json.loads(client.stdout.readline())
            uses = _while_it_listens(stack, seconds)
            grown = _rss_bytes(web) - before
            heard = json.loads(client.stdout.readline())
    assert heard["holes"] == 0, heard
    return Found(step, opened, heard, uses, grown)


def _while_it_listens(stack: Stack, seconds: float) -> dict[str, Use]:
    time.sleep(SETTLE_S)
    with watched(stack) as uses:
        time.sleep(seconds)
    return uses


def _figures(found: Found) -> list[Figure]:
    def figure(name: str, value: float, unit: str, **bounds: Any) -> Figure:
        return Figure("fanout", f"{found.name}: {name}", value, unit, **bounds)

    sockets = found.step.sockets
    bound = {MUST: {"must": BUDGET_MS}, AIM: {"aim": BUDGET_MS}}.get(sockets, {})
    return [
        figure(
            "p99 of a tick",
            found.heard["p99_ms"],
            "ms",
            more_is_better=False,
            detail=found.detail(),
            **bound,
        ),
        figure("connections refused or lost", found.lost, "", more_is_better=False),
        figure("all connected", found.opened["max_ms"] / 1_000, "s", more_is_better=False),
        figure("web", found.uses["web"].cpu_share * 100, "% CPU", more_is_better=False),
        figure("memory", found.grown_bytes / sockets / 1_024, "KiB each", more_is_better=False),
    ]


def _reached(found: list[Found]) -> Figure:
    """The budget's line: how many get their ticks in time, of the numbers that were tried."""
    in_time = [
        one.step.sockets
        for one in found
        if one.step.channels == PRICE and not one.lost and one.heard["p99_ms"] < BUDGET_MS
    ]
    most = max(in_time, default=0)
    return Figure("fanout", "most sockets with p99 < 100 ms", most, "sockets", MUST, AIM)


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
