"""HTTP and WebSocket of many clients in one process, which shares no code with the platform.

What became of a request is one of three: it was answered, it was never sent, or nobody knows.
"""

import asyncio
import json
from itertools import count
from typing import Any, Final, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

ANSWER_S: Final = 12.0
CONNECTED_S: Final = 2.0


class NotSent(Exception):
    """There was no connection: the platform cannot have seen the request."""


class Lost(Exception):
    """It was sent, or part of it was, and there is no answer."""


class Answer(NamedTuple):
    status: int
    body: Any

    @property
    def code(self) -> str:
        """The error's code; empty for an answer that is none."""
        return str(self.body.get("error") or "") if isinstance(self.body, dict) else ""


class _Pipe(asyncio.Protocol):
    """One kept-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Lost(f"connection lost: {exc}"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        if not self.open:  # since it was made
            raise NotSent("connection lost")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_S):  # wait_for may swallow a cancellation
                return await self._waiter
        except TimeoutError:
            self.close()
            raise Lost("no answer in time") from None

    def close(self) -> None:
        self.open = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._unread[:end]).lower()
        at = head.find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._unread) < end + 4 + size:
            return
        body = bytes(self._unread[end + 4 : end + 4 + size])
        del self._unread[: end + 4 + size]
        if b"connection: close" in head:
            self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((int(head[9:12]), body))


class Http:
    """One client's connection: made anew when it is gone. One request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pipe: _Pipe | None = None

    async def ask(
        self, method: str, path: str, body: Any = None, token: str = "", **headers: str
    ) -> Answer:
        """Raises NotSent, Lost."""
        sent = b"" if body is None else body if isinstance(body, bytes) else _dump(body)
        lines = [f"{method} /api/v1/{path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "", ""]).encode() + sent
        pipe = await self._connected()
        status, answer = await pipe.ask(request)
        return Answer(status, json.loads(answer) if answer else None)

    async def _connected(self) -> _Pipe:
        if self._pipe is not None and self._pipe.open:
            return self._pipe
        connecting = asyncio.get_running_loop().create_connection(_Pipe, "127.0.0.1", self._port)
        try:
            async with asyncio.timeout(CONNECTED_S):
                _, pipe = await connecting
        except (OSError, TimeoutError) as error:
            raise NotSent(str(error)) from None
        self._pipe = pipe
        return pipe

    def close(self) -> None:
        if self._pipe is not None and self._pipe.open:
            self._pipe.close()


def _dump(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


class Line:
    """A WebSocket for `op: bet`; several bets may be under way at once."""

    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws/v1"
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._numbers = count(1)
        self._opening = asyncio.Lock()

    async def bet(self, body: dict[str, Any]) -> Answer:
        """As POST bets would have answered. Raises NotSent, Lost."""
        socket = await self._connected()
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            await socket.send(_dump({"op": "bet", "id": number, **body}).decode())
            async with asyncio.timeout(ANSWER_S):
                return await future
        except (OSError, WebSocketException) as error:
            raise Lost(str(error)) from None
        except TimeoutError:
            raise Lost("no answer in time") from None
        finally:
            self._waiting.pop(number, None)
            if not future.cancel() and not future.cancelled():
                future.exception()  # heard, whatever else went wrong

    async def _connected(self) -> ClientConnection:
        async with self._opening:
            if self._socket is None or self._reading is None or self._reading.done():
                try:
                    self._socket = await connect(
                        self._url, open_timeout=CONNECTED_S, ping_interval=None, compression=None
                    )
                except (OSError, WebSocketException, TimeoutError) as error:
                    raise NotSent(str(error)) from None
                self._reading = asyncio.create_task(self._read(self._socket))
            return self._socket

    async def _read(self, socket: ClientConnection) -> None:
        seq = 0
        try:
            async for text in socket:
                frame = json.loads(text)
                seq += 1
                assert frame["seq"] == seq, f"frame {frame['seq']} came where {seq} was due"
                data = frame["data"]
                future = self._waiting.get(data.get("id", 0)) if isinstance(data, dict) else None
                if future is not None and not future.done():
                    accepted = frame["type"] == "bet.accepted"
                    future.set_result(Answer(202 if accepted else 400, data))
        except (OSError, WebSocketException):
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Lost("the socket was closed"))

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._socket is not None:
            self._socket.transport.abort()
