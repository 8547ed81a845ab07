"""Sources' events -> index price and its sources at a mark. Pure.

The index price is the median, floored to the cent, of the sources that are live: heard from
(price or heartbeat) at most `stale_us` before the mark, and within `outlier_bps` of the median.
Ages run between receive times; no exchange's clock has a say.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pricefeed.ticks import NANOS_PER_CENT, Event


class IndexPrice(NamedTuple):
    price_cents: int
    sources: str  # names of those it is made of, sorted, comma-separated


class _Source:
    __slots__ = ("heard_us", "price_nanos")

    def __init__(self) -> None:
        self.price_nanos: int | None = None
        self.heard_us = 0


def median_nanos(prices: Iterable[int]) -> int:
    """Of an even number: the middle of the two in the middle, floored."""
    ordered = sorted(prices)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2


class Index:
    def __init__(self, *, stale_us: int, outlier_bps: int, sources_min: int) -> None:
        self._stale_us = stale_us
        self._outlier_bps = outlier_bps
        self._sources_min = max(1, sources_min)
        self._sources: dict[str, _Source] = {}

    def take(self, event: Event) -> None:
        """A price sets the source's; a heartbeat keeps it current."""
        source = self._sources.setdefault(event.source, _Source())
        if event.price_nanos is not None:
            source.price_nanos = event.price_nanos
        source.heard_us = max(source.heard_us, event.received_us)

    def lost(self, name: str) -> None:
        """The connection is gone: its price counts for nothing until it speaks again, for a
        new connection's first heartbeat says nothing about the old one's price."""
        self._sources.pop(name, None)

    def heard(self, now_us: int) -> dict[str, tuple[int, int | None]]:
        """Of each source: microseconds since it was heard from, and its price."""
        return {n: (now_us - s.heard_us, s.price_nanos) for n, s in self._sources.items()}

    def at(self, mark_us: int) -> IndexPrice | None:
        """The index at this mark; None with fewer live sources than the minimum."""
        live = {
            name: source.price_nanos
            for name, source in self._sources.items()
            if source.price_nanos is not None and mark_us - source.heard_us <= self._stale_us
        }
        if len(live) < self._sources_min:
            return None
        middle = median_nanos(live.values())
        near = {name: price for name, price in live.items() if self._is_near(price, middle)}
        if len(near) < self._sources_min:
            return None
        cents = median_nanos(near.values()) // NANOS_PER_CENT
        return IndexPrice(cents, ",".join(sorted(near)))

    def _is_near(self, price: int, middle: int) -> bool:
        return abs(price - middle) * 10_000 <= self._outlier_bps * middle
