"""Sources -> index -> estimators, one mark at a time.

Everything that decides a tick's numbers is here and is told the mark: the same events and marks
give the same ticks, whenever and however late they are asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pricefeed.board import TickRecord
from pricefeed.index import Index
from pricefeed.sources import Source
from pricefeed.volatility import Volatility
from taptrading.limits import LIMITS


class Priced(NamedTuple):
    """A tick that has no number yet."""

    at_ms: int
    price_cents: int
    sigma_ppm: int
    overshoot_e12: int
    sources: str

    def numbered(self, seq: int) -> TickRecord:
        return TickRecord(seq, *self)


def mark_at_or_before(at_ms: int) -> int:
    return at_ms // LIMITS.tick_ms * LIMITS.tick_ms


class Pipeline:
    def __init__(
        self,
        sources: Sequence[Source],
        sources_min: int,
        used: Callable[[str], None] = lambda source: None,
    ) -> None:
        self.sources = sources
        self._used = used
        self._index = Index(
            stale_us=LIMITS.source_stale_ms * 1_000,
            outlier_bps=LIMITS.source_outlier_bps,
            sources_min=sources_min,
        )
        self._volatility = Volatility(tick_ms=LIMITS.tick_ms, warmup_ms=LIMITS.warmup_ms)

    @property
    def catch_up_ms(self) -> int:
        """How many missed marks may be made up: what the most forgetful source allows."""
        return min((source.catch_up_ms for source in self.sources), default=0)

    async def start(self, now_us: int) -> bool:
        """Start the sources. True when one brought a past, which has been gone through."""
        since_us = now_us
        for source in self.sources:
            since_us = min(since_us, await source.start(now_us))
        first_ms = mark_at_or_before(since_us // 1_000) + LIMITS.tick_ms
        for mark_ms in range(first_ms, now_us // 1_000 + 1, LIMITS.tick_ms):
            self.step(mark_ms)
        return since_us < now_us

    async def stop(self) -> None:
        for source in self.sources:
            await source.stop()

    async def switch(self, sources: Sequence[Source], now_us: int) -> None:
        """From now on these; one that was there before goes on as it is."""
        before, self.sources = self.sources, sources
        for source in before:
            if source not in sources:
                self._index.lost(source.name)
        for source in sources:
            if source not in before:
                await source.start(now_us)
        for source in before:
            if source not in sources:
                await source.stop()

    def heard(self, now_us: int) -> dict[str, tuple[int, int | None]]:
        """Of each source: microseconds since it was heard from, and its price in nanos; of one that
        was never heard from there is nothing."""
        return self._index.heard(now_us)

    def remember(self, ticks: Iterable[TickRecord]) -> None:
        """Run the estimators again over ticks recorded before this process began."""
        for tick in ticks:
            self._volatility.take(tick.at_ms, tick.price_cents)

    def step(self, mark_ms: int) -> Priced | None:
        """The index at this mark, from what was received up to it; marks rise."""
        mark_us = mark_ms * 1_000
        for source in self.sources:
            if source.is_lost():
                self._index.lost(source.name)
            for event in source.drain(mark_us):
                self._index.take(event)
                self._used(event.source)
        price = self._index.at(mark_us)
        if price is None:
            return None
        self._volatility.take(mark_ms, price.price_cents)
        return Priced(
            mark_ms,
            price.price_cents,
            self._volatility.sigma_ppm,
            self._volatility.overshoot_e12,
            price.sources,
        )
