"""The only reader of time.

Processes of one platform share a clock: real time, or, in tests and replays, real time
shifted and stretched by three numbers in a small file that each process maps into memory.
Production refuses such a file (see settings).
"""

import mmap
import os
import struct
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

US_PER_MS: Final = 1_000
US_PER_S: Final = 1_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# version (odd while being written), real monotonic us, clock us at that instant, rate
_LAYOUT: Final = struct.Struct("<qqqd")


def _real_us() -> int:
    return time.time_ns() // 1_000


class Clock:
    """Real time."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return _real_us()

    def monotonic_us(self) -> int:
        """Microseconds that never step back, for ages; runs at the clock's rate."""
        return time.monotonic_ns() // 1_000

    def real_seconds(self, seconds: float) -> float:
        """How long to sleep in real time so that `seconds` pass on this clock."""
        return seconds


class SharedClock(Clock):
    """The clock described by a file of `write_shared_clock`; follows the file as it changes."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size, access=mmap.ACCESS_READ)

    def _read(self) -> tuple[int, int, float]:
        while True:
            before, anchor_us, clock_us, rate = _LAYOUT.unpack_from(self._map)
            (after,) = struct.unpack_from("<q", self._map)
            if before == after and before % 2 == 0:
                return anchor_us, clock_us, rate

    def now_us(self) -> int:
        anchor_us, clock_us, rate = self._read()
        return clock_us + int((time.monotonic_ns() // 1_000 - anchor_us) * rate)

    def monotonic_us(self) -> int:
        return self.now_us()

    def real_seconds(self, seconds: float) -> float:
        return seconds / self._read()[2]


def write_shared_clock(path: Path, *, now_us: int, rate: float = 1.0) -> None:
    """Make or move the shared clock: it reads `now_us` from this moment on and runs at `rate`.

    Ages are taken from the same clock, so a step back would make them negative: ValueError.
    """
    if rate <= 0:
        raise ValueError("a clock's rate is above zero")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(_LAYOUT.pack(0, time.monotonic_ns() // 1_000, now_us, rate))
        os.replace(fresh, path)
        return
    if now_us < SharedClock(path).now_us() - US_PER_S:
        raise ValueError("the shared clock does not run backwards")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), _LAYOUT.size) as view:
        (version,) = struct.unpack_from("<q", view)
        struct.pack_into("<q", view, 0, version + 1)
        _LAYOUT.pack_into(view, 0, version + 1, time.monotonic_ns() // 1_000, now_us, rate)
        struct.pack_into("<q", view, 0, version + 2)


_clock: Clock = Clock()


def use(clock: Clock) -> None:
    """Replace this process's clock (start-up and tests)."""
    global _clock
    _clock = clock


def current() -> Clock:
    return _clock


def now_us() -> int:
    return _clock.now_us()


def now_ms() -> int:
    return _clock.now_us() // US_PER_MS


def now_s() -> int:
    return _clock.now_us() // US_PER_S


def monotonic_us() -> int:
    return _clock.monotonic_us()


def real_seconds(seconds: float) -> float:
    return _clock.real_seconds(seconds)


def now() -> datetime:
    """Aware, UTC."""
    return from_us(_clock.now_us())


def from_us(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def to_us(at: datetime) -> int:
    delta = at - EPOCH
    return (delta.days * 86_400 + delta.seconds) * US_PER_S + delta.microseconds


def iso_ms(us: int) -> str:
    """RFC 3339, UTC, `Z`, three fraction digits (cut, not rounded): the form of the wire."""
    second, rest_us = divmod(us, US_PER_S)
    return f"{_second_text(second)}.{rest_us // US_PER_MS:03d}Z"


@lru_cache(maxsize=1_024)
def _second_text(second: int) -> str:
    """The second that is running is asked for thousands of times, those of a page many times."""
    return (EPOCH + timedelta(seconds=second)).isoformat()[: len("2025-01-01T00:00:00")]
