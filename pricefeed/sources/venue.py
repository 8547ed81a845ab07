"""A live venue: one WebSocket, reconnected for ever, its messages through the gate.

What differs between venues (URL, subscription, frames) is a `Venue` of their own files. Every
wait is bounded: opening, closing, silence, the size of a message, the queue, the back-off.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode

from pricefeed.ending import end
from pricefeed.sources import Refused
from pricefeed.ticks import Event, Gate, Reader
from taptrading.limits import LIMITS

log = logging.getLogger(__name__)

CATCH_UP_MS: Final = 1_000
_TOO_BIG: Final = CloseCode.MESSAGE_TOO_BIG


class Venue(NamedTuple):
    """What one exchange needs to be listened to."""

    name: str
    url: str
    hello: tuple[str, ...]  # frames to send on opening
    reader: Callable[[], Reader]


class Patience(NamedTuple):
    """Bounds of one connection, in seconds."""

    open_s: float = 10.0
    close_s: float = 2.0
    silence_s: float = 5.0  # without one usable message: frozen, or sending rubbish
    ping_s: float = 10.0
    backoff_min_s: float = 0.5
    backoff_max_s: float = 30.0


PATIENCE: Final = Patience()


def backoff_s(failures: int, patience: Patience, draw: Callable[[], float]) -> float:
    """Exponential with full jitter: anything from a tenth of the first step up to the bound."""
    ceiling = min(patience.backoff_max_s, patience.backoff_min_s * 2.0 ** min(failures, 16))
    return max(patience.backoff_min_s / 10, ceiling * draw())


class VenueSource:
    """A `Source`. `now_us` is the monotonic receive clock; `reconnected(name)` is counted."""

    catch_up_ms = CATCH_UP_MS

    def __init__(
        self,
        venue: Venue,
        now_us: Callable[[], int],
        refused: Refused,
        reconnected: Callable[[str], None],
        patience: Patience = PATIENCE,
    ) -> None:
        self.name = venue.name
        self._venue = venue
        self._now_us = now_us
        self._refused = refused
        self._reconnected = reconnected
        self._patience = patience
        self._draw = random.SystemRandom().random
        self._queue: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self._lost = False
        self._failures = 0

    async def start(self, now_us: int) -> int:
        self._task = asyncio.create_task(self._keep_listening(), name=f"source-{self.name}")
        return now_us

    async def stop(self) -> None:
        if self._task is not None:
            await end([self._task])

    def drain(self, until_us: int) -> list[Event]:
        events: list[Event] = []
        while self._queue and self._queue[0].received_us <= until_us:
            events.append(self._queue.popleft())
        return events

    def is_lost(self) -> bool:
        """True once for each connection that ended."""
        lost, self._lost = self._lost, False
        return lost

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
                why = "closed"
            except (OSError, TimeoutError, WebSocketException) as error:
                self._count_oversize(error)
                why = f"{type(error).__name__}: {error}"[:200]
            except Exception:  # a fault of ours in one venue must not silence the others
                log.exception("source=%s action=listen failed", self.name)
                why = "a fault of this program"
            self._drop()
            wait_s = backoff_s(self._failures, self._patience, self._draw)
            self._failures += 1
            log.warning("source=%s action=reconnect in_s=%.2f why=%s", self.name, wait_s, why)
            await asyncio.sleep(wait_s)
            self._reconnected(self.name)

    def _count_oversize(self, error: Exception) -> None:
        if isinstance(error, ConnectionClosed) and error.sent and error.sent.code == _TOO_BIG:
            self._refused(self.name, "oversize")

    def _drop(self) -> None:
        """Nothing of a dead connection is used any more."""
        self._queue.clear()
        self._lost = True

    async def _listen(self) -> None:
        patience = self._patience
        async with connect(
            self._venue.url,
            open_timeout=patience.open_s,
            close_timeout=patience.close_s,
            ping_interval=patience.ping_s,
            ping_timeout=patience.ping_s,
            max_size=LIMITS.source_message_bytes,
            max_queue=64,
        ) as connection:
            for frame in self._venue.hello:
                await connection.send(frame)
            log.info("source=%s action=connected", self.name)
            await self._receive(connection)

    async def _receive(self, connection: ClientConnection) -> None:
        gate = Gate(
            self.name,
            self._venue.reader(),
            lambda reason: self._refused(self.name, reason),
            limit_bytes=LIMITS.source_message_bytes,
        )
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._patience.silence_s) as silence:
            async for raw in connection:
                events = gate.take(raw, self._now_us())
                if not events:
                    continue
                silence.reschedule(loop.time() + self._patience.silence_s)
                self._failures = 0
                self._keep(events)

    def _keep(self, events: list[Event]) -> None:
        """Nobody drains? Then the oldest give way: the newest price is the one that counts."""
        self._queue.extend(events)
        while len(self._queue) > LIMITS.source_queue:
            self._queue.popleft()
            self._refused(self.name, "queue_full")
