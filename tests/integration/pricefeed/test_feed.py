"""The feed's loop in virtual time: marks, recording, breaker, overrides, restarts.

Time passes when the loop rests, so minutes of feed run in moments and every run is the same.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisConnectionError

from pricefeed import choices, overrides, recorder
from pricefeed.board import FeedState, TickRecord
from pricefeed.feed import Feed
from pricefeed.models import BreakerOverride, Tick
from pricefeed.pipeline import Pipeline
from pricefeed.receive_clock import ReceiveClock
from pricefeed.ticks import NANOS_PER_CENT, Event
from taptrading import clock

START_MS = 1_764_000_000_000
pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")
# ms since START_MS -> price, or None for silence
PriceAt = Callable[[int], int | None]


class VirtualClock(clock.Clock):
    """Stands still but for rests, and ends the run when its time is over."""

    def __init__(self) -> None:
        self.us = START_MS * 1_000
        self.end_us = 0
        self.stop: asyncio.Event | None = None
        self.late_at_ms: dict[int, int] = {}

    def now_us(self) -> int:
        return self.us

    def monotonic_us(self) -> int:
        return self.us

    def real_seconds(self, seconds: float) -> float:
        self.us += round(seconds * 1_000_000)
        self.us += 1_000 * self.late_at_ms.pop(self.us // 1_000 - START_MS, 0)
        if self.us >= self.end_us and self.stop is not None:
            self.stop.set()
        return 0.0


class Script:
    """A source whose price at each mark is given."""

    name = "script"

    def __init__(self, price_at: PriceAt, catch_up_ms: int = 1_000) -> None:
        self.catch_up_ms = catch_up_ms
        self._price_at = price_at
        self._next_ms = 0

    async def start(self, now_us: int) -> int:
        self._next_ms = now_us // 1_000
        return now_us

    async def stop(self) -> None:
        pass

    def drain(self, until_us: int) -> list[Event]:
        events = []
        for at_ms in range(self._next_ms, until_us // 1_000 + 1, 100):
            price = self._price_at(at_ms - START_MS)
            if price is not None:
                events.append(Event(at_ms * 1_000, self.name, price * NANOS_PER_CENT))
        self._next_ms = max(self._next_ms, until_us // 1_000 // 100 * 100 + 100)
        return events

    def is_lost(self) -> bool:
        return False


class Outlet:
    """What was published, and the key of Redis."""

    def __init__(self) -> None:
        self.states: list[FeedState] = []
        self.key: FeedState | None = None
        self.away = False

    async def left_behind(self) -> FeedState | None:
        if self.away:
            raise RedisConnectionError("away")
        return self.key

    async def forget(self) -> None:
        self.key = None

    def offer(self, state: FeedState) -> None:
        if state.tick is not None:
            assert recorder_has(state.tick)
        self.states.append(state)
        self.key = state

    def breakers(self) -> list[tuple[int, str]]:
        """(ms of the tick, state) at each change."""
        changes: list[tuple[int, str]] = []
        for state in self.states:
            if not changes or changes[-1][1] != state.breaker:
                at_ms = state.tick.at_ms - START_MS if state.tick else -1
                changes.append((at_ms, state.breaker))
        return changes


def recorder_has(tick: TickRecord) -> bool:
    """A published tick has been handed to the recorder first."""
    return tick.seq in RECORDED


RECORDED: set[int] = set()


@pytest.fixture(autouse=True)
def _note_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    RECORDED.clear()
    record = recorder.record

    def noting(ticks: list[TickRecord]) -> None:
        record(ticks)
        RECORDED.update(tick.seq for tick in ticks)

    monkeypatch.setattr(recorder, "record", noting)


@pytest.fixture
def time() -> Iterator[VirtualClock]:
    before, virtual = clock.current(), VirtualClock()
    clock.use(virtual)
    yield virtual
    clock.use(before)


async def run(
    time: VirtualClock,
    seconds: float,
    price_at: PriceAt,
    outlet: Outlet | None = None,
    rung: list[int] | None = None,
    catch_up_ms: int = 1_000,
) -> Outlet:
    outlet = outlet or Outlet()
    time.stop = asyncio.Event()
    time.end_us = time.us + round(seconds * 1_000_000)
    callbacks = [] if rung is None else [rung.append]
    receive_clock = ReceiveClock(clock.now_us, clock.monotonic_us)
    pipeline = Pipeline([Script(price_at, catch_up_ms)], 1)
    await Feed(pipeline, outlet, receive_clock, callbacks).run(time.stop)
    return outlet


def steady(at_ms: int) -> int | None:
    return 9_500_000


def silent_between(from_ms: int, to_ms: int) -> PriceAt:
    """The last price is current for a second after `from_ms`."""
    return lambda at_ms: None if from_ms < at_ms < to_ms else 9_500_000


def recorded_marks() -> list[int]:
    return [tick.at_ms - START_MS for tick in recorder.ticks_since(0)]


def told(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def in_thread(query: Callable[[], T]) -> T:
    return await asyncio.to_thread(query)


async def test_run_when_prices_flow_then_a_tick_at_every_mark(time: VirtualClock) -> None:
    outlet = await run(time, 3, steady)
    marks = await in_thread(recorded_marks)
    assert marks == list(range(100, 3_000, 100))
    assert [state.tick.seq for state in outlet.states if state.tick][:3] == [1, 2, 3]
    assert all(state.breaker == "closed" for state in outlet.states if state.tick)


async def test_run_when_late_then_missed_marks_are_made_up_within_the_bound(
    time: VirtualClock,
) -> None:
    time.late_at_ms = {500: 700, 2_000: 4_000}
    missed = told("pricefeed_missed_marks_total")
    await run(time, 8, steady)
    marks = await in_thread(recorded_marks)
    assert set(range(100, 2_000, 100)) <= set(marks)
    # 4 s late, a second made up.
    assert set(range(2_000, 5_100, 100)) & set(marks) == set()
    assert {5_100, 6_000} <= set(marks)
    assert told("pricefeed_missed_marks_total") - missed == 31


async def test_run_when_prices_stop_then_degraded_open_and_closed_after_thirty_seconds(
    time: VirtualClock,
) -> None:
    missed = told("pricefeed_missed_marks_total")
    outlet = await run(time, 60, silent_between(5_000, 20_000))
    # The last price stays current for a second, so the last tick is at 6 s.
    assert outlet.breakers() == [
        (-1, "open"),
        (100, "closed"),
        (6_000, "degraded"),
        (6_000, "open"),
        (50_000, "closed"),
    ]
    assert told("pricefeed_missed_marks_total") - missed == 139  # 6.1 to 19.9 s


async def test_run_when_columns_end_then_the_bell_rings_after_recording(
    time: VirtualClock,
) -> None:
    rung: list[int] = []
    await run(time, 11, steady, rung=rung)
    # While one call is under way no second is made, and virtual time outruns the thread.
    start_s = START_MS // 1_000
    assert rung[0] == start_s - 5
    assert rung == sorted(set(rung) & {start_s - 5, start_s, start_s + 5})


async def test_run_when_the_bell_breaks_then_ticks_go_on(time: VirtualClock) -> None:
    class Broken(list[int]):
        def append(self, column_start: int) -> None:
            raise RuntimeError("the broker is down")

    outlet = await run(time, 6, steady, rung=Broken())
    assert len(outlet.states) > 50


async def test_stop_when_clean_then_the_next_start_is_a_first_start(time: VirtualClock) -> None:
    outlet = await run(time, 2, steady)
    assert outlet.key is None
    time.us += 60_000_000
    outlet.states.clear()
    await run(time, 2, steady, outlet)
    assert {state.breaker for state in outlet.states if state.tick} >= {"closed"}
    assert outlet.states[-1].breaker == "closed"


@pytest.mark.parametrize(
    ("down_ms", "redis_away", "breaker"),
    [(5_000, False, "closed"), (15_000, False, "open"), (15_000, True, "open")],
)
async def test_start_when_the_last_process_crashed_then_its_gap_counts(
    time: VirtualClock, down_ms: int, redis_away: bool, breaker: str
) -> None:
    outlet = await run(time, 2, steady)
    outlet.key = next(state for state in reversed(outlet.states) if state.tick)
    assert outlet.key.tick is not None
    last_seq = outlet.key.tick.seq
    time.us += down_ms * 1_000
    outlet.states.clear()
    outlet.away = redis_away
    await run(time, 2, steady, outlet)
    assert outlet.states[-1].breaker == breaker
    seqs = [state.tick.seq for state in outlet.states if state.tick and state.tick.seq > last_seq]
    assert seqs[0] == last_seq + 1


async def test_start_when_ticks_are_recorded_then_the_warm_up_is_not_repeated(
    time: VirtualClock,
) -> None:
    first = await run(time, 61, steady)
    assert first.states[100].tick is not None
    assert first.states[100].tick.sigma_ppm == 0
    time.us += 2_000_000
    second = await run(time, 1, steady)
    assert all(state.tick.sigma_ppm > 0 for state in second.states if state.tick)


async def test_breaker_when_it_changes_then_only_bad_news_is_a_warning(
    time: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pricefeed.feed")
    await run(time, 48, silent_between(1_000, 13_000))
    told = [(r.levelname, r.getMessage()) for r in caplog.records if "=breaker " in r.getMessage()]
    assert told == [
        ("WARNING", "action=breaker state=open why=no price yet"),
        ("INFO", "action=breaker state=closed"),
        ("WARNING", "action=breaker state=degraded why=no index price for more than 3 s"),
        ("WARNING", "action=breaker state=open why=no index price for more than 10 s"),
        ("INFO", "action=breaker state=closed"),
    ]


async def test_override_when_recorded_before_the_start_then_it_holds(time: VirtualClock) -> None:
    await in_thread(lambda: overrides.record("open", reason="drill", by="ann", lasts_s=2))
    outlet = await run(time, 4, steady)
    told = {(state.breaker, state.override, state.reason) for state in outlet.states}
    assert ("open", "open", "drill") in told
    assert outlet.states[-1].breaker == "closed"
    assert outlet.states[-1].override == "auto"


async def test_override_when_heard_from_redis_then_recorded_and_followed(
    time: VirtualClock,
) -> None:
    time.stop = asyncio.Event()
    time.end_us = 1 << 62
    outlet = Outlet()
    pipeline = Pipeline([Script(steady)], 1)
    feed = Feed(pipeline, outlet, ReceiveClock(clock.now_us, clock.monotonic_us))
    running = asyncio.create_task(feed.run(time.stop))
    for text, breaker in [("nonsense", "closed"), ("open", "open"), ("auto", "closed")]:
        await feed.hear(text)
        async with asyncio.timeout(20):
            while not outlet.states or outlet.states[-1].breaker != breaker:
                await asyncio.sleep(0)
    time.stop.set()
    await running
    rows = await in_thread(lambda: list(BreakerOverride.objects.values_list("state", "by")))
    assert rows == [("open", "redis"), ("auto", "redis")]


async def test_record_when_the_database_refuses_then_nothing_is_published_and_it_recovers(
    time: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, refusals = recorder.record, iter(range(5))

    def locked(ticks: list[TickRecord]) -> None:
        if next(refusals, None) is not None:
            raise OperationalError("database is locked")
        record(ticks)

    monkeypatch.setattr(recorder, "record", locked)
    failed = told("pricefeed_record_failures_total")
    outlet = await run(time, 2, steady)
    assert told("pricefeed_record_failures_total") - failed == 5
    first = next(state.tick for state in outlet.states if state.tick)
    assert (first.seq, first.at_ms - START_MS) == (1, 600)
    assert await in_thread(Tick.objects.count) == len(
        {state.tick.seq for state in outlet.states if state.tick}
    )


async def test_record_when_it_commits_but_reports_failure_then_numbers_go_on_after_it(
    time: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, failures = recorder.record, iter(range(1))

    def record_and_lose_the_answer(ticks: list[TickRecord]) -> None:
        record(ticks)
        if next(failures, None) is not None:
            raise OperationalError("the connection was lost")

    monkeypatch.setattr(recorder, "record", record_and_lose_the_answer)
    outlet = await run(time, 2, steady)
    assert [state.tick.seq for state in outlet.states if state.tick][:2] == [1, 2]
    marks = await in_thread(recorded_marks)
    assert marks == list(range(100, 2_000, 100))


class Venues:
    """The feed's control: any name is a source that quotes at once."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def make(self, name: str) -> Script:
        made = Script(steady)
        made.name = name
        return made

    async def tell(self, names: list[str], heard: dict[str, tuple[int, int | None]]) -> None:
        self.told = names


async def chosen(names: list[str]) -> None:
    """The tests' database is shared in memory: who reads keeps a writer out, whose patience does
    not count there."""
    while True:
        try:
            await in_thread(lambda: choices.record(names, reason="drill", by="ann"))
        except OperationalError as error:
            if "locked" not in str(error):
                raise
        else:
            return


async def test_sources_when_an_operator_chooses_others_then_ticks_are_made_of_them(
    time: VirtualClock, settings: Any
) -> None:
    settings.PRICE_SOURCES = ["binance"]
    time.stop = asyncio.Event()
    time.end_us = 1 << 62
    outlet, control = Outlet(), Venues()
    pipeline = Pipeline([control.make("binance")], 1)
    receive_clock = ReceiveClock(clock.now_us, clock.monotonic_us)
    feed = Feed(pipeline, outlet, receive_clock, control=control)
    running = asyncio.create_task(feed.run(time.stop))
    for names in (["kraken", "coinbase"], []):
        await chosen(names)
        await feed.hear("changed")
        wanted = names or ["binance"]
        async with asyncio.timeout(20):
            while control.told != wanted or made_of(outlet) != ",".join(sorted(wanted)):
                await asyncio.sleep(0)
    time.stop.set()
    await running


def made_of(outlet: Outlet) -> str:
    tick = outlet.states[-1].tick if outlet.states else None
    return tick.sources if tick else ""
