"""What goes wrong while traders trade: parts killed and stopped, Redis emptied, databases locked.

The order of faults comes from the seed; when exactly they strike does not repeat itself.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pysqlite3 as sqlite3
import redis

from tests.bank.house import House

PARTS: Final = {
    "web": "uvicorn",
    "writer": "run_writer",
    "worker": " worker ",
    "beat": " beat ",
    "feed": "run_pricefeed",
    "valkey": "valkey-server",
}
# Faults by how often they come.
FAULTS: Final = (
    *(("kill", part) for part in PARTS for _ in range(2)),
    *(("stop", part) for part in PARTS),
    *[("flush", "valkey")] * 3,
    *[("lock 1", "ledger"), ("lock 4", "ledger"), ("lock 1", "prices"), ("stall", "feed")] * 2,
)


class Nemesis:
    """`pause_s` is the mean time between two faults; a stop lasts `stop_s` at most."""

    def __init__(self, house: House, seed: int, *, pause_s: float, stop_s: float) -> None:
        self._house = house
        self._rng = random.Random(seed)
        self._pause_s = pause_s
        self._stop_s = stop_s
        self._stopped: set[int] = set()
        self.done: Counter[str] = Counter()

    async def run(self, over: asyncio.Event) -> None:
        """One fault after another, until it is over."""
        faults: list[tuple[str, str]] = []
        while not over.is_set():
            if not faults:
                faults = [*FAULTS]
                self._rng.shuffle(faults)
            await self.strike(*faults.pop())
            with contextlib.suppress(TimeoutError):
                pause_s = self._rng.uniform(0.3, 1.7) * self._pause_s
                async with asyncio.timeout(pause_s):
                    await over.wait()

    async def strike(self, fault: str, victim: str) -> None:
        self.done[f"{fault} {victim}"] += 1
        match fault.split():
            case ["kill"]:
                self._signal(victim, signal.SIGKILL)
            case ["stop"]:
                await self._stop(victim, self._rng.uniform(0.1, self._stop_s))
            case ["stall"]:
                await self._stop(victim, self._stop_s)
            case ["flush"]:
                await asyncio.to_thread(self._flush)
            case ["lock", seconds]:
                house = self._house
                file = house.database_file if victim == "ledger" else house.prices_file
                await asyncio.to_thread(_lock, file, float(seconds))

    def heal(self) -> None:
        """What is stopped goes on."""
        for pid in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped.clear()

    def _signal(self, part: str, number: signal.Signals) -> int | None:
        with contextlib.suppress(AssertionError, ProcessLookupError):  # it is being started
            pid = self._house.running.pid_of(PARTS[part])
            os.kill(pid, number)
            return pid
        return None

    async def _stop(self, part: str, seconds: float) -> None:
        pid = self._signal(part, signal.SIGSTOP)
        if pid is not None:
            self._stopped.add(pid)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.heal()

    def _flush(self) -> None:
        path = next((self._house.running.folder / "data").rglob("valkey.sock"), None)
        if path is None:
            return
        with (
            contextlib.suppress(redis.RedisError),
            redis.Redis(unix_socket_path=str(path), socket_timeout=1) as client,
        ):
            client.flushall()


def _lock(file: Path, seconds: float) -> None:
    """Hold the write lock of this database, as somebody else's transaction would."""
    connection: Any = sqlite3.connect(file, timeout=10, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        pass  # it was locked by somebody else: as good
    finally:
        connection.close()
