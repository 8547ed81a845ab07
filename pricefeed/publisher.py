"""The feed's end of Redis: what it publishes, what it left behind, what operators shout in.

Redis may be away for any length of time: the loop that makes ticks only ever puts a state into
a bounded queue and goes on.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from pricefeed.board import FEED_KEY, FEED_KIND, FeedState, decode, encode
from pricefeed.overrides import CHANNEL

log = logging.getLogger(__name__)

_BACKLOG: Final = 100
_PATIENCE_S: Final = 1.0
_RETRY_S: Final = 0.5
_AWAY: Final = (RedisError, OSError, TimeoutError)

Publish = Callable[[str, bytes], Awaitable[bool]]


def connect(url: str) -> "Redis":
    return Redis.from_url(url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S)


class Publisher:
    def __init__(self, redis: "Redis", publish: Publish) -> None:
        self._redis = redis
        self._publish = publish
        self._waiting: deque[FeedState] = deque(maxlen=_BACKLOG)
        self._filled = asyncio.Event()
        self._away = False
        self._over = False
        self._sending = asyncio.Lock()

    async def left_behind(self) -> FeedState | None:
        """What the last process published and did not clear. Raises RedisError, OSError."""
        payload = await self._redis.get(FEED_KEY)
        if payload is None:
            return None
        try:
            return decode(payload)  # type: ignore[arg-type]  # bytes: replies are not decoded
        except msgspec.DecodeError:
            log.warning("action=read_feed_key failed why=not a feed state")
            return None

    async def forget(self) -> None:
        """A clean stop leaves nothing behind, nor sends anything after: the next start is a
        first start."""
        async with self._sending:
            self._over = True
            self._waiting.clear()
            with contextlib.suppress(*_AWAY):
                await self._redis.delete(FEED_KEY)

    def offer(self, state: FeedState) -> None:
        """Never waits. With Redis away for long, the oldest states are not sent."""
        self._waiting.append(state)
        self._filled.set()

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            if not self._waiting:
                self._filled.clear()
                continue
            state = self._waiting[0]
            async with self._sending:
                sent = self._over or await self._send(encode(state))
            if sent:
                # It may have been pushed out of the full queue meanwhile.
                if self._waiting and self._waiting[0] is state:
                    self._waiting.popleft()
            else:
                await asyncio.sleep(_RETRY_S)

    async def _send(self, payload: bytes) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._redis.set(FEED_KEY, payload)
                sent = await self._publish(FEED_KIND, payload)
        except _AWAY as error:
            self._note(f"{type(error).__name__}: {error}")
            return False
        self._note("" if sent else "the channel layer")
        return sent

    def _note(self, why: str) -> None:
        if bool(why) != self._away:
            log.warning("action=publish %s", f"failed why={why}" if why else "restored")
        self._away = bool(why)


async def hear_overrides(redis: "Redis", heard: Callable[[str], Awaitable[None]]) -> None:
    """Each message of the override channel, for ever, across outages of Redis."""
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(CHANNEL)
                while True:
                    message = await pubsub.get_message(timeout=_PATIENCE_S / 2)
                    if message is not None:
                        await heard(message["data"].decode("utf-8", "replace").strip())
        except _AWAY:
            await asyncio.sleep(_RETRY_S)
