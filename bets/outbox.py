"""What waits to be sent on one socket: bounded, and numbered at the last moment.

Of prices, grids, status and heartbeats only the newest waits while the peer is slow; nothing
else is ever dropped, so a peer that lets too much of it pile up is disconnected.

Two ways out. Where the server lets finished frames through (`taptrading.sockets`), one mailman an
event loop carries them: no task is woken per frame, what waits for a socket goes out in one write,
and after each round of a few sockets everything else in the process has its turn. Anywhere else a
task per socket sends by ASGI.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from taptrading.limits import LIMITS
from taptrading.sockets import Wire, numbered_frame, wire_of

logger = logging.getLogger(__name__)

CONFLATED: Final = frozenset({"price.tick", "grid.update", "system.status", "heartbeat"})
TOO_SLOW: Final = 4408
GONE: Final = 1000
SEND_PATIENCE_S: Final = 10
ROUND: Final = 128  # sockets; a write to one takes the kernel about 10 µs

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Outbox:
    """Subclasses say how to send what waits."""

    __slots__ = ("_limit", "_places", "_send", "_seq", "_stopped", "_waiting", "close_code")

    def __init__(self, send: Send, limit: int = LIMITS.socket_queue_frames) -> None:
        self._send = send
        self._limit = limit
        # Frames without `{"seq":<n>`, in order; a conflated type keeps its place.
        self._waiting: dict[str | int, bytes] = {}
        self._places = 0
        self._seq = 0
        self._stopped = False
        self.close_code: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, type: str, tail: bytes) -> None:
        """`tail` is the frame without `{"seq":<n>`. Ignored once the socket is closing."""
        if self.close_code is not None:
            return
        if type in CONFLATED:
            self._waiting[type] = tail
            self._wake(urgent=False)
        elif len(self._waiting) < self._limit:
            self._places += 1
            self._waiting[self._places] = tail
            self._wake(urgent=True)
        else:
            self._waiting.clear()
            self.close(TOO_SLOW)

    def close(self, code: int) -> None:
        """Close after what waits is sent. The first code counts."""
        if self.close_code is None:
            self.close_code = code
            self._wake(urgent=True)

    def stop(self) -> None:
        """The peer is gone: send nothing more."""
        self._stopped = True
        self.close_code = self.close_code or GONE
        self._wake(urgent=True)

    async def run(self) -> None:
        """Until closed or stopped."""
        raise NotImplementedError

    def _wake(self, urgent: bool) -> None:
        """There is something to do."""
        raise NotImplementedError

    async def _bounded(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(SEND_PATIENCE_S):
            await self._send(message)


class PumpedOutbox(Outbox):
    """Sends by ASGI, one frame after the other."""

    __slots__ = ("_awake",)

    def __init__(self, send: Send, limit: int = LIMITS.socket_queue_frames) -> None:
        super().__init__(send, limit)
        self._awake = asyncio.Event()

    def _wake(self, urgent: bool) -> None:
        self._awake.set()

    async def run(self) -> None:
        try:
            while not self._stopped and await self._send_waiting():
                self._awake.clear()
                if not self._waiting and self.close_code is None and not self._stopped:
                    await self._awake.wait()
        except (OSError, TimeoutError):
            self._stopped = True  # the peer vanished, or takes nothing at all
        self.close_code = self.close_code or GONE

    async def _send_waiting(self) -> bool:
        """False when the socket is closed."""
        waiting = self._waiting
        while waiting and not self._stopped:
            tail = waiting.pop(next(iter(waiting)))
            self._seq += 1
            text = f'{{"seq":{self._seq}{tail.decode()}'
            await self._bounded({"type": "websocket.send", "text": text})
        if self.close_code is None or self._stopped:
            return True
        await self._bounded({"type": "websocket.close", "code": self.close_code})
        return False


class DirectOutbox(Outbox):
    """Hands finished frames to the server's protocol when the mailman comes by."""

    __slots__ = (
        *("_mailman", "_over", "_patience", "_takes_frames", "_wire", "_write"),
        *("is_due", "is_urgent"),
    )

    def __init__(self, send: Send, wire: Wire, limit: int = LIMITS.socket_queue_frames) -> None:
        super().__init__(send, limit)
        self._wire = wire
        # Kept here: a walk past thousands of sockets should touch as little memory as it can.
        self._write = wire.write
        self._takes_frames = True
        self._mailman = _mailman()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._patience: asyncio.TimerHandle | None = None
        self.is_due = False
        self.is_urgent = False
        wire.on_change = self._changed

    async def run(self) -> None:
        try:
            await self._over
            if not self._stopped:
                await self._bounded({"type": "websocket.close", "code": self.close_code})
        except (OSError, TimeoutError):
            self._wire.abort()
        finally:
            self.stop()
            self._wire.on_change = None
            self._calm()

    def put(self, type: str, tail: bytes) -> None:
        # What comes ten times a second for each of thousands takes the short way.
        if type not in CONFLATED:
            super().put(type, tail)
        elif self.close_code is None:
            self._waiting[type] = tail
            if not self.is_due:
                self.is_due = True
                self._mailman.take(self)

    def post(self) -> None:
        """Send what waits, if the socket takes it."""
        if self._stopped:
            self._end()
        elif self._takes_frames:
            waiting = self._waiting
            if len(waiting) == 1:
                self._seq = seq = self._seq + 1
                for tail in waiting.values():
                    self._write(numbered_frame(seq, tail))
            elif waiting:
                self._write(b"".join(self._numbered()))
            waiting.clear()
            if self.close_code is not None:
                self._end()
        elif self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(SEND_PATIENCE_S, self.give_up)

    def give_up(self) -> None:
        """The peer takes nothing at all, and is not waited for."""
        self._stopped = True
        self._wire.abort()
        self._end()

    def _numbered(self) -> Iterator[bytes]:
        for tail in self._waiting.values():
            self._seq += 1
            yield numbered_frame(self._seq, tail)

    def _wake(self, urgent: bool) -> None:
        if urgent and not self.is_urgent:
            self.is_urgent = True
            self._mailman.take_first(self)
        elif not urgent and not self.is_due:
            self.is_due = True
            self._mailman.take(self)

    def _changed(self, takes_frames: bool) -> None:
        self._takes_frames = takes_frames
        if takes_frames:
            self._calm()
            if self._waiting or self.close_code is not None:
                self._wake(urgent=True)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


class Mailman:
    """Goes round the outboxes of one event loop that have something to send; a bet's news is
    carried before the prices of the sockets that are still to come."""

    def __init__(self) -> None:
        self._urgent: deque[DirectOutbox] = deque()
        self._due: deque[DirectOutbox] = deque()
        self._walks = False

    def take(self, outbox: DirectOutbox) -> None:
        self._due.append(outbox)
        if not self._walks:
            self._set_out()

    def take_first(self, outbox: DirectOutbox) -> None:
        self._urgent.append(outbox)
        if not self._walks:
            self._set_out()

    def _set_out(self) -> None:
        self._walks = True
        asyncio.get_running_loop().call_soon(self._walk)

    def _walk(self) -> None:
        for _ in range(ROUND):
            if self._urgent:
                outbox = self._urgent.popleft()
                outbox.is_urgent = False
            elif self._due:
                outbox = self._due.popleft()
                outbox.is_due = False
            else:
                self._walks = False
                return
            try:
                outbox.post()
            except Exception:  # one broken socket must not keep the others from their mail
                logger.exception("a socket could not be written to")
                outbox.give_up()
        self._set_out()


_mailmen: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailman] = WeakKeyDictionary()


def _mailman() -> Mailman:
    return _mailmen.setdefault(asyncio.get_running_loop(), Mailman())


def outbox_for(scope: Any, send: Send) -> Outbox:
    """The way out that the server of this connection allows."""
    wire = wire_of(scope)
    return PumpedOutbox(send) if wire is None else DirectOutbox(send, wire)
