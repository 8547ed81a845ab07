"""Several sources through one pipeline, mark by mark."""

from pricefeed.board import TickRecord
from pricefeed.pipeline import Pipeline
from pricefeed.ticks import NANOS_PER_CENT, Event

START_MS = 1_764_000_000_000


class Venue:
    """A source whose events are put in by hand."""

    def __init__(self, name: str, catch_up_ms: int = 1_000, past_ms: int = 0) -> None:
        self.name = name
        self.catch_up_ms = catch_up_ms
        self.lost = False
        self.stopped = False
        self._past_ms = past_ms
        self._events: list[Event] = []

    def hears(self, at_ms: int, price_cents: int | None) -> None:
        nanos = None if price_cents is None else price_cents * NANOS_PER_CENT
        self._events.append(Event((START_MS + at_ms) * 1_000, self.name, nanos))

    async def start(self, now_us: int) -> int:
        return now_us - self._past_ms * 1_000

    async def stop(self) -> None:
        self.stopped = True

    def drain(self, until_us: int) -> list[Event]:
        due = [event for event in self._events if event.received_us <= until_us]
        self._events = self._events[len(due) :]
        return due

    def is_lost(self) -> bool:
        lost, self.lost = self.lost, False
        return lost


def test_step_when_a_venue_drops_then_the_others_go_on() -> None:
    venues = [Venue("a"), Venue("b"), Venue("c")]
    pipeline = Pipeline(venues, 2)
    for venue, price in zip(venues, (9_500_000, 9_500_100, 9_500_300), strict=True):
        venue.hears(0, price)
    tick = pipeline.step(START_MS)
    assert tick is not None
    assert (tick.price_cents, tick.sources) == (9_500_100, "a,b,c")

    venues[0].lost = True
    tick = pipeline.step(START_MS + 100)
    assert tick is not None
    assert (tick.price_cents, tick.sources) == (9_500_200, "b,c")

    venues[1].lost = True
    assert pipeline.step(START_MS + 200) is None


def test_step_when_a_message_is_later_than_the_mark_then_the_next_mark_has_it() -> None:
    venue = Venue("a")
    pipeline = Pipeline([venue], 1)
    venue.hears(100, 9_500_000)
    venue.hears(101, 9_600_000)
    for mark_ms, price in [(100, 9_500_000), (200, 9_600_000)]:
        tick = pipeline.step(START_MS + mark_ms)
        assert tick is not None
        assert tick.price_cents == price


async def test_start_when_a_source_brings_a_past_then_it_warms_the_estimators() -> None:
    venue = Venue("a", past_ms=61_000)
    for at_ms in range(-61_000, 1, 500):
        venue.hears(at_ms, 9_500_000)
    pipeline = Pipeline([venue], 1)
    assert await pipeline.start(START_MS * 1_000)
    tick = pipeline.step(START_MS + 100)
    assert tick is not None
    assert tick.sigma_ppm > 0


async def test_start_when_venues_are_live_then_recorded_ticks_warm_the_estimators() -> None:
    venue = Venue("a")
    pipeline = Pipeline([venue], 1)
    assert not await pipeline.start(START_MS * 1_000)
    marks = range(START_MS - 60_000, START_MS + 1, 100)
    pipeline.remember(
        TickRecord(n, at_ms, 9_500_000, 0, 0, "a") for n, at_ms in enumerate(marks, 1)
    )
    venue.hears(100, 9_500_000)
    tick = pipeline.step(START_MS + 100)
    assert tick is not None
    assert tick.sigma_ppm > 0
    assert tick.numbered(7) == TickRecord(7, *tick)
    await pipeline.stop()
    assert venue.stopped


def test_bound_catching_up_when_sources_differ_then_the_most_forgetful_counts() -> None:
    assert Pipeline([Venue("a", 10_000), Venue("b", 1_000)], 1).catch_up_ms == 1_000
