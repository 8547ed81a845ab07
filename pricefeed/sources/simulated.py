"""A seeded market: the price at an instant is a function of (seed, instant) and nothing else.

Between anchors 29 hours apart the log price is a Brownian bridge, refined level by level (Lévy's
construction), every normal drawn from a hash of (seed, level, index). The anchors themselves are
independent with half a block's variance, so that steps between them have the variance of Brownian
motion and the price stays near its start for years. Once an hour, at an instant of the hash's
choice, it jumps from one small level to another. Floats end here: the price is whole cents.
"""

import math
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from pricefeed.ticks import NANOS_PER_CENT, Event
from pricefeed.volatility import YEAR_S

MARK_MS: Final = 100
# What the settings say when nothing else does.
SIGMA_PCT: Final = 60
START_CENTS: Final = 9_500_000
_LEVELS: Final = 20  # a block is 2^20 marks
_BLOCK_MARKS: Final = 1 << _LEVELS
_JUMP_MARKS: Final = 36_000
_JUMP_SIZE: Final = 0.0007
_HISTORY_MS: Final = 300_000
_CATCH_UP_MS: Final = 10_000


def _uniforms(seed: int, kind: int, index: int) -> tuple[float, float]:
    """Two numbers in (0, 1)."""
    digest = blake2b(b"%d %d %d" % (seed, kind, index), digest_size=16).digest()
    first, second = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    return ((first >> 11) + 0.5) / 2**53, ((second >> 11) + 0.5) / 2**53


def _normal(seed: int, kind: int, index: int) -> float:
    radius, angle = _uniforms(seed, kind, index)
    return math.sqrt(-2 * math.log(radius)) * math.cos(2 * math.pi * angle)


@lru_cache(maxsize=8_192)
def _level(seed: int, level: int, index: int) -> float:
    """The path, in standard deviations of one mark, at mark `index` * 2^`level`."""
    span = 1 << level
    if level == _LEVELS:
        return _normal(seed, level, index) * math.sqrt(span / 2)
    if index % 2 == 0:
        return _level(seed, level + 1, index // 2)
    before, after = _level(seed, level + 1, index // 2), _level(seed, level + 1, index // 2 + 1)
    return (before + after) / 2 + _normal(seed, level, index) * math.sqrt(span / 2)


def _jump(seed: int, mark: int) -> float:
    """The log price's level of jumps at this mark."""
    hour, inside = divmod(mark, _JUMP_MARKS)
    at = _uniforms(seed, -1, hour)[0] * _JUMP_MARKS
    return _JUMP_SIZE * _normal(seed, -2, hour if inside >= at else hour - 1)


def price_cents(
    seed: int, at_ms: int, *, sigma_pct: int = SIGMA_PCT, start_cents: int = START_CENTS
) -> int:
    """The price at the mark at or before `at_ms`."""
    mark = at_ms // MARK_MS
    step = sigma_pct / 100 * math.sqrt(MARK_MS / 1_000 / YEAR_S)
    return int(start_cents * math.exp(step * _level(seed, 0, mark) + _jump(seed, mark)))


class SimulatedSource:
    """A `Source` with one price at every mark and five minutes of past."""

    name = "simulated"
    catch_up_ms = _CATCH_UP_MS

    def __init__(self, seed: int, sigma_pct: int, start_cents: int) -> None:
        self._seed = seed
        self._sigma_pct = sigma_pct
        self._start_cents = start_cents
        self._next_mark = 0

    async def start(self, now_us: int) -> int:
        since_ms = now_us // 1_000 - _HISTORY_MS
        self._next_mark = since_ms // MARK_MS
        return since_ms * 1_000

    async def stop(self) -> None:
        pass

    def drain(self, until_us: int) -> list[Event]:
        last_mark = until_us // (MARK_MS * 1_000)
        marks = range(self._next_mark, last_mark + 1)
        self._next_mark = max(self._next_mark, last_mark + 1)
        # Only the newest of them can matter to a caller that asks at every mark.
        return [self._event(mark) for mark in marks[-1:]]

    def is_lost(self) -> bool:
        return False

    def _event(self, mark: int) -> Event:
        cents = price_cents(
            self._seed,
            mark * MARK_MS,
            sigma_pct=self._sigma_pct,
            start_cents=self._start_cents,
        )
        return Event(mark * MARK_MS * 1_000, self.name, cents * NANOS_PER_CENT)
