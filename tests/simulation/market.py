"""Simulated prices and the real feed that makes ticks of them, one turn at a time."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from pricefeed.board import FEED_KEY, FeedState, decode, encode
from pricefeed.feed import Feed
from pricefeed.pipeline import Pipeline
from pricefeed.receive_clock import ReceiveClock
from pricefeed.ticks import NANOS_PER_CENT, Event
from taptrading import clock
from tests.simulation.keystore import KeyStore
from tests.simulation.world import MS, World

T = TypeVar("T")

MARK_US: Final = 100 * MS
START_CENTS: Final = 9_500_500
_PAST_MARKS: Final = 620  # enough for the feed's estimators to be warm
_STEP_CENTS: Final = (-900, -400, -150, -50, 0, 0, 50, 150, 400, 900)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


class Market:
    """A venue: a price at every mark, unless it is silent."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cents = START_CENTS
        self.silent_until_us = 0

    def price_nanos(self) -> int | None:
        """The price at this moment, which has moved since it was asked for."""
        if self._world.us < self.silent_until_us:
            return None
        self._cents = max(100_000, self._cents + self._world.random.choice(_STEP_CENTS))
        return self._cents * NANOS_PER_CENT


class MarketSource:
    """One connection of the feed to the market, which it hears once a mark."""

    name = "market"
    catch_up_ms = 1_000

    def __init__(self, market: Market) -> None:
        self._market = market
        self._next_us = 0

    async def start(self, now_us: int) -> int:
        self._next_us = (now_us // MARK_US - _PAST_MARKS) * MARK_US
        return self._next_us

    async def stop(self) -> None:
        pass

    def drain(self, until_us: int) -> list[Event]:
        events = []
        if until_us >= self._next_us:
            self._next_us = until_us // MARK_US * MARK_US + MARK_US
            price = self._market.price_nanos()
            if price is not None:
                events.append(Event(until_us, self.name, price))
        return events

    def is_lost(self) -> bool:
        return False


class Outlet:
    """What the feed publishes goes to Redis' key and to whoever hears."""

    def __init__(self, store: KeyStore, tell: Callable[[bytes], None]) -> None:
        self._store = store
        self._tell = tell
        self._newest: FeedState | None = None

    async def left_behind(self) -> FeedState | None:
        payload = self._store.get(FEED_KEY)
        return None if payload is None else decode(payload)

    async def forget(self) -> None:
        self._store.remove(FEED_KEY)

    def offer(self, state: FeedState) -> None:
        self._newest = state

    def flush(self) -> None:
        """The newest state of a turn: whoever hears it keeps no other."""
        state, self._newest = self._newest, None
        if state is not None:
            payload = encode(state)
            if self._store.put(FEED_KEY, payload):
                self._tell(payload)


class TurnedFeed(Feed):
    """The platform's feed, its loop turned from outside; the database is spoken to at once."""

    def __init__(self, market: Market, outlet: Outlet, ring: Callable[[], None]) -> None:
        pipeline = Pipeline([MarketSource(market)], 1)
        super().__init__(pipeline, outlet, ReceiveClock(clock.now_us, clock.monotonic_us))
        self._out = outlet
        self._rings = ring

    def begin(self) -> None:
        drive(self._begin())

    def turn(self) -> None:
        drive(self._turn())
        self._out.flush()

    def look(self) -> None:
        drive(self._read_override())

    async def _in_database(self, deed: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return deed(*args, **kwargs)

    def _ring(self, before: Any, newest: Any) -> None:
        column_ms = 5_000
        if before is None or before.at_ms // column_ms != newest.at_ms // column_ms:
            self._rings()
