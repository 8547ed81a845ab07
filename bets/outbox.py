"""What waits to be sent on one socket: bounded, numbered at the last moment, sent by one pump.

Of prices, grids, status and heartbeats only the newest waits while the peer is slow; nothing
else is ever dropped, so a peer that lets too much of it pile up is disconnected.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from taptrading.limits import LIMITS

CONFLATED: Final = frozenset({"price.tick", "grid.update", "system.status", "heartbeat"})
TOO_SLOW: Final = 4408
SEND_PATIENCE_S: Final = 10

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Outbox:
    def __init__(self, send: Send, limit: int = LIMITS.socket_queue_frames) -> None:
        self._send = send
        self._limit = limit
        self._queue: deque[tuple[str, str]] = deque()  # (type, tail); a conflated tail is ""
        self._newest: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._seq = 0
        self._stopped = False
        self.close_code: int | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, type: str, tail: str) -> None:
        """`tail` is the frame without `{"seq":<n>`. Ignored once the socket is closing."""
        if self.close_code is not None:
            return
        if type in CONFLATED:
            waits = type in self._newest
            self._newest[type] = tail
            if waits:
                return
            tail = ""
        elif len(self._queue) >= self._limit:
            self._queue.clear()
            self.close(TOO_SLOW)
            return
        self._queue.append((type, tail))
        self._wake.set()

    def close(self, code: int) -> None:
        """Close after what waits is sent. The first code counts."""
        if self.close_code is None:
            self.close_code = code
            self._wake.set()

    def stop(self) -> None:
        """The peer is gone: send nothing more."""
        self._stopped = True
        self._wake.set()

    async def run(self) -> None:
        """Send what comes until closed or stopped."""
        try:
            while not self._stopped and await self._send_waiting():
                self._wake.clear()
                if not self._queue and self.close_code is None and not self._stopped:
                    await self._wake.wait()
        except (OSError, TimeoutError):
            self._stopped = True  # the peer vanished, or takes nothing at all
        self.close_code = self.close_code or 1000

    async def _send_waiting(self) -> bool:
        """False when the socket is closed."""
        queue, newest = self._queue, self._newest
        while queue and not self._stopped:
            type, tail = queue.popleft()
            self._seq += 1
            text = f'{{"seq":{self._seq}{tail or newest.pop(type)}'
            await self._bounded({"type": "websocket.send", "text": text})
        if self.close_code is None or self._stopped:
            return True
        await self._bounded({"type": "websocket.close", "code": self.close_code})
        return False

    async def _bounded(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(SEND_PATIENCE_S):
            await self._send(message)
