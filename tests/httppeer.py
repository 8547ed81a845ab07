"""The client's end of one HTTP connection to the web process's protocol, without a socket."""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from taptrading.direct import DirectProtocol


class _Wire(asyncio.Transport):
    """Keeps what was written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 80)})
        self.writes: list[bytes] = []
        self.written = asyncio.Event()
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes.append(bytes(data))
        self.written.set()

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request may come this way")


class HttpPeer:
    """A connection. `app` answers what goes the way of ASGI. Make it inside the loop."""

    def __init__(self, app: Any = _nothing, *, proxied: bool = False) -> None:
        config = Config(
            app, ws="none", lifespan="off", log_config=None, proxy_headers=proxied, access_log=False
        )
        config.load()
        self.state = ServerState()
        self.wire = _Wire()
        self.protocol = DirectProtocol(config, self.state, {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)
        self._unread = b""

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """The next reply: status, headers by their names, body."""
        while True:
            self._unread += b"".join(self.wire.writes)
            self.wire.writes.clear()
            head, found, rest = self._unread.partition(b"\r\n\r\n")
            if found:
                first, *lines = head.decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                length = int(headers["content-length"])
                if len(rest) >= length:
                    self._unread = rest[length:]
                    return int(first.split()[1]), headers, rest[:length]
            self.wire.written.clear()
            async with asyncio.timeout(20):
                await self.wire.written.wait()

    def leave(self) -> None:
        self.protocol.connection_lost(None)
