"""Wires the hub to this process's memory and sockets: ticks, grids, status, bets, heartbeats.

`start` subscribes before it reads the present from Redis, so nothing falls between the two;
after a gap the present is read again and whoever follows bets gets a new snapshot.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from bets.consumers import EVERYONE
from bets.following import Follower, event_data, readable
from bets.quotes import EXPOSURE_KEY, EXPOSURE_KIND, quotes
from bets.roster import roster
from pricefeed.board import FEED_KEY, FEED_KIND, board
from taptrading import clock, hub
from taptrading.limits import LIMITS
from wallet import events
from wallet.directory import directory

logger = logging.getLogger(__name__)

PULSE_S: Final = 1
SESSION_CHECK_S: Final = 60
RESTART: Final = 1012
RECONNECT_MS: Final = (500, 5_000)
REDIS_PATIENCE_S: Final = 2

_json: Final = msgspec.json.Encoder().encode


class _Trail(NamedTuple):
    epoch: int
    number: int


class Live:
    """What one process tells its sockets. Lives on the event loop's thread."""

    def __init__(self) -> None:
        self._ends: list[Callable[[], None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._priming: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._trail: _Trail | None = None
        self._status: tuple[object, ...] = ()
        self._grid = b""

    async def start(self) -> None:
        self._ends = [
            hub.on(FEED_KIND, self._on_feed),
            hub.on(EXPOSURE_KIND, quotes.receive_exposure),
            hub.on(events.KIND, self._on_batch),
            hub.on_gap(self._on_gap),
        ]
        self._tasks = [asyncio.create_task(hub.run()), asyncio.create_task(self._pulse())]
        for task in self._tasks:
            task.add_done_callback(_end_deaf_process)
        await self._prime()

    async def stop(self) -> None:
        self.goodbye()
        for end in self._ends:
            end()
        tasks = [*self._tasks, *(task for task in (self._priming, self._checking) if task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def goodbye(self) -> None:
        """Tell every socket when to come back, each at its own time, and close it."""
        first, last = RECONNECT_MS
        for socket in roster:
            pause_ms = first + secrets.randbelow(last - first)
            data = _json({"reconnect_after_ms": pause_ms})
            socket.deliver("server.shutdown", hub.frame_tail("server.shutdown", data))
            socket.close(RESTART)

    # The present, read from Redis.

    async def _prime(self) -> None:
        client = redis.asyncio.Redis.from_url(settings.REDIS_URL)
        try:
            async with asyncio.timeout(REDIS_PATIENCE_S):
                feed, exposure = await client.mget(FEED_KEY, EXPOSURE_KEY)
            if isinstance(exposure, bytes):
                quotes.receive_exposure(exposure)
            if isinstance(feed, bytes):
                self._on_feed(feed)
        except (RedisError, OSError, TimeoutError, msgspec.DecodeError) as error:
            logger.warning("the present could not be read: %s", error or type(error).__name__)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    # What the hub brings.

    def _on_feed(self, payload: bytes) -> None:
        board.receive(payload)
        if quotes.refresh(board.tick):
            price = board.price_json(clock.now_ms())
            hub.broadcast("price", "price.tick", _json(price))
        self._show_changes()

    def _show_changes(self) -> None:
        """Breaker and grid also change with the clock alone: columns lock, prices grow old."""
        now_us = clock.now_us()
        status = board.status_json(now_us)
        shown = (status["breaker"], status["override"], status["reason"])
        if shown != self._status:
            self._status = shown
            hub.broadcast("status", "system.status", _json(status))
        if hub.members("grid"):
            grid = quotes.grid_update_bytes(now_us)
            if grid is not self._grid:  # the very same bytes while nothing has changed
                self._grid = grid
                hub.broadcast("grid", "grid.update", grid)

    def _on_batch(self, payload: bytes) -> None:
        batch = events.decode(payload)
        trail, self._trail = self._trail, _Trail(batch.epoch, batch.number)
        if trail is not None and self._trail != (trail.epoch, trail.number + 1):
            self._catch_up()
        for wallet_id in batch.forget:
            directory.forget(wallet_id)
        for wallet_id, news in zip(batch.wallets, batch.news, strict=True):
            if hub.members(f"wallet:{wallet_id}"):
                _pass_on(readable(events.decode_event(news)))

    def _on_gap(self) -> None:
        self._catch_up()
        if self._priming is None or self._priming.done():
            self._priming = asyncio.create_task(self._prime())

    def _catch_up(self) -> None:
        """Events were missed: forget what they may have changed, read it again."""
        directory.forget_all()
        for socket in roster:
            if socket.follower is not None:
                socket.follower.gap()

    # What time brings.

    async def _pulse(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(clock.real_seconds(PULSE_S))
            beats += 1
            try:
                self._show_changes()
                if beats % LIMITS.heartbeat_s == 0:
                    hub.broadcast(EVERYONE, "heartbeat", _json(heartbeat(clock.now_us())))
            except Exception:
                logger.exception("a pulse failed")
            if beats % SESSION_CHECK_S == 0 and (self._checking is None or self._checking.done()):
                self._checking = asyncio.create_task(_check_sessions())


async def _check_sessions() -> None:
    # One after the other: there is a minute for all of them, and snapshots come first.
    for socket in roster:
        await socket.check_session()


def _pass_on(event: events.Event) -> None:
    members = hub.members(f"wallet:{event.wallet_id}")
    if members:
        tail = hub.frame_tail(event.name, _json(event_data(event)))
        for member in members:
            assert isinstance(member, Follower)
            member.event(event, tail)


def _end_deaf_process(task: "asyncio.Task[None]") -> None:
    """Without its ears a process would go on with an old price: the supervisor starts another."""
    if not task.cancelled() and task.exception() is not None:
        logger.critical("the process ends: a task of it did", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


def heartbeat(now_us: int) -> dict[str, Any]:
    now_ms = now_us // clock.US_PER_MS
    return {
        "server_time": clock.iso_ms(now_us),
        "tick_seq": None if board.tick is None else board.tick.seq,
        "tick_age_ms": board.age_ms(now_ms),
        "breaker": board.breaker(now_ms),
    }


def current_frame(channel: str) -> tuple[str, bytes] | None:
    """What a feed channel would say now: (type, data), or None before the first price."""
    now_us = clock.now_us()
    if channel == "status":
        return "system.status", _json(board.status_json(now_us))
    if channel == "grid":
        return "grid.update", quotes.grid_update_bytes(now_us)
    price = board.price_json(now_us // clock.US_PER_MS)
    return None if price is None else ("price.tick", _json(price))


live: Final = Live()
