"""What a benchmark row hands back, and how a run of rows is printed and kept."""

import json
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent


class Scale(StrEnum):
    """How long a row may take: seconds in CI, about a minute in `make bench`, as long as the
    budget says in the long form."""

    CI = "ci"
    NORMAL = "normal"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a row. `must` and `aim` are the budget's, bounds from below when
    `more_is_better`. `detail` is kept in the JSON and not printed."""

    row: str
    name: str
    value: float
    unit: str
    must: float | None = None
    aim: float | None = None
    more_is_better: bool = True
    detail: dict[str, Any] = field(default_factory=dict)

    def verdict(self) -> str:
        if self.aim is not None and self._reaches(self.aim):
            return "aim"
        if self.must is not None:
            return "must" if self._reaches(self.must) else "MISSED"
        return "" if self.aim is None else "below aim"

    def _reaches(self, bound: float) -> bool:
        return self.value >= bound if self.more_is_better else self.value <= bound


def print_figures(figures: Sequence[Figure]) -> None:
    for figure in figures:
        print(
            f"{figure.row:<8}{figure.name:<52}{_number(figure.value):>12} {figure.unit:<8}"
            f"{_number(figure.must):>10}{_number(figure.aim):>10}  {figure.verdict()}",
            flush=True,
        )


def print_heading() -> None:
    print(f"{'row':<8}{'':<52}{'measured':>12} {'':<8}{'must':>10}{'aim':>10}", flush=True)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(scale: Scale, figures: Sequence[Figure]) -> str:
    return json.dumps(
        {
            "scale": scale,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": _commit(),
            "machine": machine(),
            "figures": [asdict(figure) for figure in figures],
        },
        indent=1,
    )


WATCHED_S: Final = 5.0
MOMENT_S: Final = 0.01


@cache
def machine() -> dict[str, Any]:
    """The processor, the cores this run may use, how steady they are before it, memory, kernel and
    Python."""
    import os

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "slowest_hundredth": round(_slowest_hundredth(), 2),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _slowest_hundredth() -> float:
    """How fast a core is in the slowest hundredth of its time, against its median. A core of a
    virtual machine whose host slows it down for moments makes every p99 the host's: 1 is steady."""
    turns = []
    over = time.monotonic() + WATCHED_S
    while (began := time.monotonic()) < over:
        count = 0
        while time.monotonic() - began < MOMENT_S:
            count += 1
        turns.append(count)
    turns.sort()
    return turns[len(turns) // 100] / turns[len(turns) // 2]


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return found.stdout.strip()
