"""Pages of candles in memory: each is read once a tick, however many ask for it.

A page takes milliseconds to read, for it is made of thousands of ticks, and every trader's chart
asks for the same one. What is kept is good until the next tick, and for a second at most.
"""

import asyncio
from typing import Final, NamedTuple

from pricefeed import recorder
from pricefeed.recorder import Candle
from taptrading import clock
from taptrading.caches import lookups
from taptrading.http import encode
from taptrading.threads import in_thread

KEPT_MAX: Final = 256
_LOOKUPS: Final = lookups("prices")


class Span(NamedTuple):
    """The newest `limit` steps that begin at or after `from`, before `to`."""

    from_us: int
    to_us: int
    step_s: int
    limit: int

    def aligned(self) -> "Span":
        """Equal ones have equal pages."""
        step_us = self.step_s * clock.US_PER_S
        from_us, to_us = (-(-at_us // step_us) * step_us for at_us in (self.from_us, self.to_us))
        return self._replace(from_us=from_us, to_us=to_us)


class Page(NamedTuple):
    """Rendered, newest first; and when the oldest step began, if there are older ones."""

    results: bytes
    older_before: str | None


class Moment(NamedTuple):
    """Pages read at equal moments are alike."""

    tick: int
    second: int


class Pages:
    """On one event loop's thread."""

    def __init__(self) -> None:
        self._moment = Moment(-1, -1)
        self._kept: dict[Span, asyncio.Task[Page]] = {}

    async def page(self, span: Span, moment: Moment) -> Page:
        """Raises django.db.Error, DependencyError."""
        if moment != self._moment:
            self._moment, self._kept = moment, {}
        key = span.aligned()
        reading = self._kept.get(key)
        if reading is None:
            _LOOKUPS.miss.inc()
            reading = asyncio.create_task(_read(span), name="candles")
            if len(self._kept) < KEPT_MAX:
                self._keep(key, reading)
        else:
            _LOOKUPS.hit.inc()
        # Others may wait for the same page: whoever leaves does not cancel it for them.
        return await asyncio.shield(reading)

    def _keep(self, key: Span, reading: "asyncio.Task[Page]") -> None:
        kept = self._kept
        kept[key] = reading

        def forget_failure(done: "asyncio.Task[Page]") -> None:
            if done.cancelled() or done.exception() is not None:
                kept.pop(key, None)

        reading.add_done_callback(forget_failure)


async def _read(span: Span) -> Page:
    candles, has_older = await in_thread(recorder.ohlc, *span)
    oldest = clock.iso_ms(candles[-1].at_us) if has_older else None
    return Page(encode([_json(candle) for candle in candles]), oldest)


def _json(candle: Candle) -> dict[str, object]:
    return {
        "at": clock.iso_ms(candle.at_us),
        "open_cents": candle.open_cents,
        "low_cents": candle.low_cents,
        "high_cents": candle.high_cents,
        "close_cents": candle.close_cents,
    }
