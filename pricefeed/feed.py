"""The price feed's loop: at each 100 ms mark price, record, then publish.

A tick that is not recorded is not published, and the breaker hears only of recorded ones. The
database is spoken to in one thread of its own; Redis only through the publisher's queue.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, Protocol, TypeVar

from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from pricefeed import choices, counts, overrides, recorder
from pricefeed.board import FeedState, TickRecord, board
from pricefeed.breaker import CLOSED, OPEN, Breaker, Override, Verdict
from pricefeed.ending import end
from pricefeed.pipeline import Pipeline, Priced, mark_at_or_before
from pricefeed.receive_clock import ReceiveClock
from pricefeed.sources import Source
from pricefeed.volatility import FORGET_MS
from taptrading import clock, security
from taptrading.limits import LIMITS

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

_LOOK_EVERY_S: Final = 1.0
_CHANGES: Final = 1_000
_US_PER_MS: Final = clock.US_PER_MS

# Called with the start (Unix seconds) of the newest column whose end has been recorded.
OnColumnClosed = Callable[[int], None]
# Of each source that was heard from: microseconds since then, and its price in nanos.
Heard = dict[str, tuple[int, int | None]]


class Outlet(Protocol):
    """Where published states go; `publisher.Publisher` outside tests."""

    async def left_behind(self) -> FeedState | None: ...

    async def forget(self) -> None: ...

    def offer(self, state: FeedState) -> None: ...


class Control(Protocol):
    """Sources that come and go while the feed runs."""

    def make(self, name: str) -> Source: ...

    async def tell(self, names: list[str], heard: Heard) -> None: ...


class Feed:
    def __init__(
        self,
        pipeline: Pipeline,
        outlet: Outlet,
        receive_clock: ReceiveClock,
        on_column_closed: Sequence[OnColumnClosed] = (),
        control: "Control | None" = None,
    ) -> None:
        self._pipeline = pipeline
        self._outlet = outlet
        self._clock = receive_clock
        self._on_column_closed = on_column_closed
        self._control = control
        self._breaker = Breaker(
            degraded_ms=LIMITS.breaker_degraded_ms,
            open_ms=LIMITS.breaker_open_ms,
            recovery_ms=LIMITS.breaker_recovery_ms,
        )
        self._database = ThreadPoolExecutor(1, "ticks")
        self._bell = ThreadPoolExecutor(1, "column-closed")
        self._ringing: Future[None] | None = None
        self._newest: TickRecord | None = None
        self._last_mark_ms = 0
        self._said: Verdict | None = None
        self._changes: deque[tuple[int, str, Verdict]] = deque(maxlen=_CHANGES)
        self._look = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the next start is a first start."""
        await self._begin()
        looking = asyncio.create_task(self._keep_looking(), name="overrides")
        try:
            while not stop.is_set():
                await self._turn()
                await self._rest(stop)
        finally:
            await end([looking])
            await self._pipeline.stop()
            await asyncio.to_thread(self._close)
        await self._outlet.forget()

    async def hear(self, text: str) -> None:
        """A message on the override channel: an override, or a call to look at the newest."""
        try:
            if not await self._in_database(overrides.record_message, text):
                log.info("action=override_message text=%.40s", text)
        except DatabaseError as error:
            log.error("action=override_message failed why=%s", error)
        self._look.set()

    async def _begin(self) -> None:
        now_us = self._clock.now_us()
        self._newest = await self._in_database(recorder.newest)
        await self._take_up(await self._left_behind())
        if not await self._pipeline.start(now_us):
            since_us = now_us - FORGET_MS * _US_PER_MS
            self._pipeline.remember(await self._in_database(recorder.ticks_since, since_us))
        self._last_mark_ms = mark_at_or_before(now_us // _US_PER_MS)
        if self._newest is not None:
            self._last_mark_ms = max(self._last_mark_ms, self._newest.at_ms)
        await self._read_override()
        await self._follow_choice()

    async def _left_behind(self) -> FeedState | None:
        """With Redis away, a recorded tick is taken for the trace of a crash: the safe side."""
        try:
            return await self._outlet.left_behind()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("action=read_feed_key failed why=%s", error)
            return FeedState(self._newest) if self._newest else None

    async def _take_up(self, left: FeedState | None) -> None:
        if left is not None and left.tick is not None:
            was_open = left.breaker == OPEN and left.override != "open"
            self._breaker.resume(left.tick.at_ms, was_open=was_open)
            log.warning("action=resume last_tick=%d breaker=%s", left.tick.seq, left.breaker)

    async def _turn(self) -> None:
        """Everything due at this moment."""
        self._clock.follow()
        now_ms = self._clock.now_us() // _US_PER_MS
        self._breaker.judge(now_ms)  # before missed marks are made up: others saw the index age
        marks = self._due(now_ms)
        stepped = [self._pipeline.step(mark) for mark in marks]
        priced = [price for price in stepped if price is not None]
        if marks:  # those too old to be made up count as well
            passed = (marks[-1] - self._last_mark_ms) // LIMITS.tick_ms
            counts.missed_marks.inc(passed - len(priced))
            self._last_mark_ms = marks[-1]
        for tick in await self._record(priced):
            self._newest = tick
            self._breaker.tick(tick.at_ms)
            self._say(tick, self._breaker.judge(tick.at_ms))
        verdict = self._breaker.judge(now_ms)
        if verdict != self._said:
            self._say(self._newest, verdict)
        await self._remember_changes()

    async def _remember_changes(self) -> None:
        """Those that the database would not have are tried again in the next turn."""
        while self._changes:
            at_us, before, verdict = self._changes[0]
            try:
                await self._in_database(overrides.record_change, at_us, before, verdict)
            except DatabaseError as error:
                log.error("action=record_change failed why=%s", error)
                return
            self._changes.popleft()

    def _due(self, now_ms: int) -> range:
        latest_ms = mark_at_or_before(now_ms)
        earliest_ms = latest_ms - self._pipeline.catch_up_ms + LIMITS.tick_ms
        first_ms = max(self._last_mark_ms + LIMITS.tick_ms, earliest_ms)
        return range(first_ms, latest_ms + 1, LIMITS.tick_ms)

    async def _record(self, priced: list[Priced]) -> list[TickRecord]:
        """The ticks, if they are recorded; none, if the database would not have them."""
        if not priced:
            return []
        before = self._newest
        seq = before.seq if before else 0
        ticks = [tick.numbered(seq + n) for n, tick in enumerate(priced, 1)]
        try:
            await self._in_database(recorder.record, ticks)
        except DatabaseError as error:
            counts.record_failures.inc()
            log.error("action=record_ticks failed count=%d why=%s", len(ticks), error)
            await self._recover()
            if self._newest != ticks[-1]:
                return []
        counts.ticks.inc(len(ticks))
        self._ring(before, ticks[-1])
        return ticks

    async def _recover(self) -> None:
        """A new connection and the truth: a commit may have succeeded without saying so."""
        with contextlib.suppress(DatabaseError):
            await self._in_database(recorder.disconnect)
            self._newest = await self._in_database(recorder.newest)

    def _ring(self, before: TickRecord | None, newest: TickRecord) -> None:
        """Tell that a column has its last vertex; while one call is under way, no second."""
        column_ms = LIMITS.column_s * 1_000
        column = newest.at_ms // column_ms
        if before is not None and before.at_ms // column_ms == column:
            return
        if self._ringing is None or self._ringing.done():
            self._ringing = self._bell.submit(self._call, (column - 1) * LIMITS.column_s)

    def _call(self, column_start: int) -> None:
        for callback in self._on_column_closed:
            try:
                callback(column_start)
            except Exception:
                log.exception("action=column_closed failed column_start=%d", column_start)

    def _say(self, tick: TickRecord | None, verdict: Verdict) -> None:
        if self._said is None or verdict.breaker != self._said.breaker:
            level = logging.INFO if verdict.breaker == CLOSED else logging.WARNING
            why = verdict.reason and f" why={verdict.reason}"
            log.log(level, "action=breaker state=%s%s", verdict.breaker, why)
            before = "" if self._said is None else self._said.breaker
            self._changes.append((self._clock.now_us(), before, verdict))
        self._said = verdict
        state = FeedState(tick, *verdict)
        board.apply(state)
        self._outlet.offer(state)

    async def _rest(self, stop: asyncio.Event) -> None:
        """Sleep until the next mark."""
        wait_us = (self._last_mark_ms + LIMITS.tick_ms) * _US_PER_MS - self._clock.now_us()
        # A newest tick in the future would make this long; the breaker is judged meanwhile.
        wait_us = min(max(wait_us, 0), LIMITS.tick_ms * _US_PER_MS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(clock.real_seconds(wait_us / clock.US_PER_S)):
                await stop.wait()

    async def _keep_looking(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._look.wait()
            self._look.clear()
            before = self._breaker.override
            await self._read_override()
            await self._follow_choice()
            # Counted here, wherever it was spoken: a command's own counters die with it.
            if self._breaker.override != before:
                security.event("breaker_override", state=self._breaker.override.state)

    async def _follow_choice(self) -> None:
        """The sources that an operator chose, and what is told of each."""
        if self._control is None:
            return
        now_us = self._clock.now_us()
        try:
            wanted = await self._in_database(choices.current)
        except DatabaseError as error:
            log.error("action=read_choice failed why=%s", error)
        else:
            before = {source.name: source for source in self._pipeline.sources}
            if tuple(before) != wanted:
                log.warning("action=switch from=%s to=%s", ",".join(before), ",".join(wanted))
                new = [before.get(name) or self._control.make(name) for name in wanted]
                await self._pipeline.switch(new, now_us)
        names = [source.name for source in self._pipeline.sources]
        await self._control.tell(names, self._pipeline.heard(now_us))

    async def _read_override(self) -> None:
        try:
            override: Override = await self._in_database(overrides.current)
        except DatabaseError as error:
            log.error("action=read_override failed why=%s", error)
            return
        self._breaker.override = override

    async def _in_database(self, deed: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._database, partial(deed, *args, **kwargs))

    def _close(self) -> None:
        self._database.submit(recorder.disconnect).result()
        self._database.shutdown()
        self._bell.shutdown(cancel_futures=True)
