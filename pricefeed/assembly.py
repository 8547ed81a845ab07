"""The feed put together from the settings: which sources, which Redis, which clock."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from pricefeed import counts
from pricefeed.board import SOURCES_KEPT_S, SOURCES_KEY, SourceState, encode_sources
from pricefeed.ending import end
from pricefeed.feed import Feed, Heard, OnColumnClosed
from pricefeed.pipeline import Pipeline
from pricefeed.publisher import Publisher, connect, hear_overrides
from pricefeed.receive_clock import ReceiveClock
from pricefeed.sources import Source, binance, coinbase, kraken
from pricefeed.sources.replay import ReplaySource
from pricefeed.sources.simulated import SimulatedSource
from pricefeed.sources.venue import VenueSource
from taptrading import clock, hub, vitals


def source(name: str, now_us: Callable[[], int]) -> Source:
    """One of the names that the settings let through."""
    if name == "simulated":
        return SimulatedSource(
            settings.SIMULATED_SEED, settings.SIMULATED_SIGMA_PCT, settings.SIMULATED_START_CENTS
        )
    if name == "replay":
        paths = [Path(settings.RECORDINGS_DIR) / file for file in settings.REPLAY_FILES]
        return ReplaySource(paths, counts.refused)
    venues = {
        "binance": lambda: binance.venue(settings.BINANCE_URL),
        "coinbase": lambda: coinbase.venue(settings.COINBASE_URL),
        "kraken": lambda: kraken.venue(settings.KRAKEN_URL),
    }
    return VenueSource(venues[name](), now_us, counts.refused, counts.reconnected)


class Sources:
    """The feed's `Control`: makes sources, and tells Redis and the metrics how each is."""

    def __init__(self, redis: "Redis", receive_clock: ReceiveClock) -> None:
        self._redis = redis
        self._clock = receive_clock

    def make(self, name: str) -> Source:
        counts.expect(name)
        return source(name, self._clock.now_us)

    async def tell(self, names: list[str], heard: Heard) -> None:
        for name in {*settings.PRICE_SOURCES, *names}:
            gauge = counts.source_heard.labels(name)
            if name in heard:
                gauge.set((self._clock.now_us() - heard[name][0]) / clock.US_PER_S)
        told = [SourceState.of(name, heard.get(name)) for name in names]
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self._redis.set(SOURCES_KEY, encode_sources(told), ex=SOURCES_KEPT_S)


async def run(stop: asyncio.Event, on_column_closed: Sequence[OnColumnClosed] = ()) -> None:
    """The price feed process, until `stop` is set."""
    receive_clock = ReceiveClock(clock.now_us, clock.monotonic_us)
    sources = [source(name, receive_clock.now_us) for name in settings.PRICE_SOURCES]
    for name in settings.PRICE_SOURCES:
        counts.expect(name)
    pipeline = Pipeline(sources, settings.SOURCES_MIN, used=counts.used)
    async with connect(settings.REDIS_URL) as redis:
        publisher = Publisher(redis, hub.publish)
        control = Sources(redis, receive_clock)
        feed = Feed(pipeline, publisher, receive_clock, on_column_closed, control)
        feeding = asyncio.create_task(feed.run(stop), name="feed")
        helpers = [
            asyncio.create_task(publisher.run(), name="publish"),
            asyncio.create_task(hear_overrides(redis, feed.hear), name="hear-overrides"),
            asyncio.create_task(vitals.pulse("pricefeed"), name="pulse"),
        ]
        try:
            # A helper that breaks takes the process with it: half a feed would go unnoticed.
            done, _ = await asyncio.wait([feeding, *helpers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end([feeding, *helpers])
        for task in done:
            task.result()
