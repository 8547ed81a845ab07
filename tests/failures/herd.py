"""Thousands of sockets that all come back in the same instant, as after a restart.

They wait for nothing and nobody: a client that spreads its return is kinder than these.
"""

import asyncio
import base64
import contextlib
import json
import os
import resource
import threading
from collections.abc import Iterator
from typing import Any, Final

AGAIN_S: Final = 0.02
_MASK: Final = bytes(4)  # masked by nothing is masked all the same


class Herd:
    """So many sockets on one port, each subscribed to prices as long as it is let in."""

    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self.size = size
        self.hearing = 0  # sockets that have had a price since they were opened
        self.lost = 0  # openings that ended, of those that had had one
        self._over = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="herd")

    @contextlib.contextmanager
    def gathered(self) -> Iterator["Herd"]:
        """They come, and come back, until the end of the block. Raises the open files' limit."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._thread.start()
        for _ in range(self.size):
            asyncio.run_coroutine_threadsafe(self._live(), self._loop)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _live(self) -> None:
        while not self._over:
            try:
                transport, sheep = await self._loop.create_connection(
                    lambda: _Sheep(self, self._loop.create_future()), "127.0.0.1", self._port
                )
            except OSError:
                await asyncio.sleep(AGAIN_S)
                continue
            try:
                await sheep.ended
            finally:
                transport.abort()

    async def _end(self) -> None:
        self._over = True
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Sheep(asyncio.Protocol):
    """One opening of one socket. It looks for no more than whether prices come."""

    def __init__(self, herd: Herd, ended: "asyncio.Future[None]") -> None:
        self._herd = herd
        self._begun = b""
        self._hears = False
        self.ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            "GET /ws/v1 HTTP/1.1",
            f"Host: 127.0.0.1:{self._herd._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        words = json.dumps({"op": "subscribe", "channels": ["price"]}).encode()
        self._transport: Any = transport
        self._transport.write("\r\n".join([*lines, "", ""]).encode())
        self._wish = bytes((0x81, 0x80 | len(words))) + _MASK + words

    def data_received(self, data: bytes) -> None:
        if self._hears:
            return
        self._begun += data
        if self._wish and b"\r\n\r\n" in self._begun:
            self._transport.write(self._wish)
            self._wish = b""
        if b'"price.tick"' in self._begun:
            self._hears = True
            self._herd.hearing += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._hears:
            self._herd.hearing -= 1
            self._herd.lost += 1
        if not self.ended.done():
            self.ended.set_result(None)
