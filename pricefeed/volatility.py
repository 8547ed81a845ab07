"""Index ticks -> volatility and overshoot, the two numbers that rates are computed from. Pure.

`rates.md` in short: sigma = sqrt((v20 + v300) / 2), v_h the EWMA (half-life h seconds) of squared
overlapping 1 s log returns taken at every tick, annualised over 365 days, floor 15 %;
overshoot b = 0.465 * EWMA(J^2) / EWMA(|J|) of the tick-to-tick log moves J, half-life 300 s.
Weights are normalised, so the first minutes are not pulled towards zero. A return across a
missing mark is not counted. The same marks and prices give the same numbers, bit for bit.
"""

import math
from collections import deque
from typing import Final

YEAR_S: Final = 365 * 86_400
SIGMA_MIN_PPM: Final = 150_000
FAST_S: Final = 20
SLOW_S: Final = 300
# What is older than this says nothing about the present: the estimators begin anew.
FORGET_MS: Final = 600_000
_OVERSHOOT_RATIO: Final = 0.465


class Mean:
    """Exponentially weighted mean in time, normalised by its weights."""

    def __init__(self, half_life_s: int, tick_ms: int) -> None:
        self._half_life_ms = half_life_s * 1_000
        self._tick_ms = tick_ms
        self._tick_decay = 0.5 ** (tick_ms / self._half_life_ms)
        self._sum = 0.0
        self._weight = 0.0

    def decay(self, elapsed_ms: int) -> None:
        if elapsed_ms == self._tick_ms:
            factor = self._tick_decay
        else:
            factor = float(0.5 ** (elapsed_ms / self._half_life_ms))
        self._sum *= factor
        self._weight *= factor

    def add(self, value: float) -> None:
        self._sum += value
        self._weight += 1.0

    @property
    def value(self) -> float:
        return self._sum / self._weight if self._weight else 0.0


class Volatility:
    def __init__(self, *, tick_ms: int, warmup_ms: int) -> None:
        self._tick_ms = tick_ms
        self._warmup_ticks = warmup_ms // tick_ms
        self._per_s = 1_000 // tick_ms
        self._reset()

    def _reset(self) -> None:
        self._last_ms: int | None = None
        self._ticks = 0
        # Log prices of the last unbroken second, oldest first.
        self._logs: deque[float] = deque(maxlen=self._per_s + 1)
        self._fast = Mean(FAST_S, self._tick_ms)
        self._slow = Mean(SLOW_S, self._tick_ms)
        self._squares = Mean(SLOW_S, self._tick_ms)
        self._moves = Mean(SLOW_S, self._tick_ms)

    def take(self, at_ms: int, price_cents: int) -> None:
        """One tick; marks rise, and what does not is a broken caller: ValueError."""
        if self._last_ms is not None:
            elapsed_ms = at_ms - self._last_ms
            if elapsed_ms <= 0:
                raise ValueError("ticks come in order of time")
            if elapsed_ms > FORGET_MS:
                self._reset()
            else:
                self._pass(elapsed_ms)
        self._last_ms = at_ms
        self._ticks += 1
        self._logs.append(math.log(price_cents))
        self._count_returns()

    def _pass(self, elapsed_ms: int) -> None:
        for mean in (self._fast, self._slow, self._squares, self._moves):
            mean.decay(elapsed_ms)
        if elapsed_ms != self._tick_ms:
            self._logs.clear()

    def _count_returns(self) -> None:
        logs = self._logs
        if len(logs) > 1:
            move = logs[-1] - logs[-2]
            self._squares.add(move * move)
            self._moves.add(abs(move))
        if len(logs) > self._per_s:
            squared = (logs[-1] - logs[0]) ** 2
            self._fast.add(squared)
            self._slow.add(squared)

    @property
    def warm(self) -> bool:
        return self._ticks >= self._warmup_ticks

    @property
    def sigma_ppm(self) -> int:
        """Annualised, in millionths; 0 while warming up."""
        if not self.warm:
            return 0
        variance = (self._fast.value + self._slow.value) / 2 * YEAR_S
        return max(SIGMA_MIN_PPM, round(math.sqrt(variance) * 1_000_000))

    @property
    def overshoot_e12(self) -> int:
        """Mean overshoot of the log index over an edge, times 10^12; 0 while nothing moved."""
        moves = self._moves.value
        if not moves:
            return 0
        return round(_OVERSHOOT_RATIO * self._squares.value / moves * 1e12)
