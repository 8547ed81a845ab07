"""What each process of a running platform costs: processor time and memory, from /proc."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.stack import Stack

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_NAMES: Final = {
    "uvicorn": "web",
    "run_writer": "writer",
    "run_pricefeed": "pricefeed",
    "worker": "worker",
    "beat": "beat",
    "valkey": "valkey",
    "redis-server": "valkey",
    "runplatform": "supervisor",
}
_EVERY_S: Final = 1.0
_FILLING: Final = 0.25


@dataclass(slots=True)
class Use:
    """One process over a stretch of time. `rss_mib` has a value a second."""

    name: str
    pid: int
    cpu_share: float = 0.0
    rss_mib: list[float] = field(default_factory=list)
    threads: int = 0
    descriptors: int = 0

    def slope_mib_per_h(self) -> tuple[float, float]:
        """Least squares of memory over time, once caches have had time to fill, and the half
        width of its 95 % interval."""
        values = self.rss_mib[int(len(self.rss_mib) * _FILLING) :]
        count = len(values)
        if count < 3:
            return 0.0, float("inf")
        mean_x, mean_y = (count - 1) / 2, sum(values) / count
        spread = sum((x - mean_x) ** 2 for x in range(count))
        slope = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / spread
        rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in enumerate(values))
        error = (rest / (count - 2) / spread) ** 0.5
        return slope * 3_600 / _EVERY_S, 1.96 * error * 3_600 / _EVERY_S


def now(running: Stack) -> dict[str, Use]:
    """The processes as they are, with their threads and descriptors."""
    found = {use.name: use for use in _processes(running)}
    for use in found.values():
        use.threads, use.descriptors = _counts(use.pid)
    return found


@contextmanager
def watched(running: Stack) -> Iterator[dict[str, Use]]:
    """Fill in what the platform's processes use while the block runs."""
    found = {use.name: use for use in _processes(running)}
    before = {name: _cpu_s(use.pid) for name, use in found.items()}
    started = time.monotonic()
    over = threading.Event()
    thread = threading.Thread(target=_watch_memory, args=(list(found.values()), over))
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        took = time.monotonic() - started
        for name, use in found.items():
            use.cpu_share = (_cpu_s(use.pid) - before[name]) / took
            use.threads, use.descriptors = _counts(use.pid)


def _watch_memory(uses: list[Use], over: threading.Event) -> None:
    while not over.wait(_EVERY_S):
        for use in uses:
            use.rss_mib.append(_rss_mib(use.pid))


def _processes(running: Stack) -> Iterator[Use]:
    seen: dict[str, int] = {}
    for pid in sorted(running.pids()):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except FileNotFoundError:
            continue
        name = next((name for word, name in _NAMES.items() if word in line), None)
        if name is not None:
            seen[name] = seen.get(name, 0) + 1
            yield Use(name if seen[name] == 1 else f"{name}-{seen[name]}", pid)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _rss_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20
    except FileNotFoundError:
        return 0.0


def _counts(pid: int) -> tuple[int, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[17]), len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0, 0
