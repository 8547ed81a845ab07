"""The WebSocket of the contract as an endless, whole stream of frames.

    connect -> auth, subscribe(since cursor) -> frames 1, 2, 3... -> lost -> back off -> connect

A frame that is out of sequence ends the connection, and the snapshot of the next one makes it
whole. Events that were seen already (by cursor) are not handed on twice.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from taptrading.client.errors import ApiError, BadReply, OutcomeUnknown, Unreachable
from taptrading.client.shapes import Bet
from taptrading.client.signed import SignedBet

T = TypeVar("T")

BET_EVENTS: Final = ("bet.accepted", "bet.confirmed", "bet.rejected", "bet.resolved")
_BAD_TOKEN: Final = 4401


class Frame(msgspec.Struct, frozen=True):
    seq: int
    kind: str = msgspec.field(name="type")
    data: msgspec.Raw = msgspec.Raw(b"{}")

    def read(self, type_: type[T]) -> T:
        """The data as one of `taptrading.client.shapes`. Raises BadReply."""
        try:
            return msgspec.json.decode(self.data, type=type_)
        except msgspec.DecodeError as error:
            raise BadReply(f"{self.kind}: {error}") from error


class BackOff(msgspec.Struct, frozen=True):
    """Exponential with full jitter, so that many clients do not come back at once."""

    first_s: float = 0.25
    most_s: float = 10.0
    attempts: int = 12  # in a row, before the platform counts as unreachable

    def pause_s(self, attempt: int, rng: random.Random) -> float:
        return rng.uniform(0, min(self.most_s, self.first_s * 2**attempt))


class _Heading(msgspec.Struct):
    """What the stream itself reads of a frame's data."""

    id: Any = None
    cursor: int | None = None
    error: str = ""
    message: str = ""
    detail: dict[str, Any] = {}
    reconnect_after_ms: int | None = None


class _Lost(Exception):
    """The connection is of no more use."""


class Stream:
    """Iterate over it to run it; `bet` and `ping` work while it is being iterated.

    Raises ApiError (unauthenticated) for a refused token, and Unreachable when it stays away.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        channels: Sequence[str] = ("price", "grid", "status"),
        since: int | None = None,
        back_off: BackOff | None = None,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        silence_s: float = 20.0,
    ) -> None:
        self.url = url
        self.token = token
        self.channels = list(channels)
        self.cursor = since
        self.reconnects = 0
        self._back_off = back_off or BackOff()
        self._rng = rng or random.Random()  # noqa: S311 (jitter)
        self._sleep = sleep
        self._silence_s = silence_s
        self._socket: ClientConnection | None = None
        self._asked: dict[str, asyncio.Future[Bet]] = {}
        self._ids = itertools.count(1)
        self._pause_s: float | None = None  # what the platform asked for as it shut down
        self._was_whole = False

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    async def __aiter__(self) -> AsyncIterator[Frame]:
        attempt = 0
        while True:
            self._was_whole = False
            frames = self._connection()
            try:
                async for frame in frames:
                    yield frame
            except _Lost as lost:
                attempt = 1 if self._was_whole else attempt + 1
                if attempt >= self._back_off.attempts:
                    raise Unreachable(f"{self.url} stays away: {lost}") from lost
            finally:
                await frames.aclose()
            pause_s = self._pause_s
            if pause_s is None:
                pause_s = self._back_off.pause_s(attempt, self._rng)
            self._pause_s = None
            await self._sleep(pause_s)
            self.reconnects += 1

    async def bet(self, request: SignedBet, timeout_s: float = 5.0) -> Bet:
        """Raises ApiError when it is refused, Unreachable when it was not sent, OutcomeUnknown
        when no answer came: then ask `Client.find_placed`.
        """
        if self._socket is None:
            raise Unreachable("the stream is not connected at the moment")
        id_ = f"bet-{next(self._ids)}"
        answer: asyncio.Future[Bet] = asyncio.get_running_loop().create_future()
        self._asked[id_] = answer
        frame = {"op": "bet", "id": id_, **msgspec.to_builtins(request)}
        try:
            await self._send(frame)
            async with asyncio.timeout(timeout_s):
                return await answer
        except (ConnectionClosed, TimeoutError) as error:
            raise OutcomeUnknown(f"no answer to the bet with nonce {request.nonce}") from error
        finally:
            self._asked.pop(id_, None)

    async def ping(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._send({"op": "ping"})

    async def _send(self, frame: dict[str, Any]) -> None:
        if self._socket is not None:
            await self._socket.send(msgspec.json.encode(frame).decode())

    async def _connection(self) -> AsyncGenerator[Frame, None]:
        """The frames of one connection; always ends in _Lost or ApiError."""
        local = any(host in self.url for host in ("//127.0.0.1", "//localhost", "//[::1]"))
        try:
            socket = await connect(
                self.url, max_size=16 * 2**20, open_timeout=10, proxy=None if local else True
            )
        except (OSError, WebSocketException, TimeoutError) as error:
            raise _Lost(str(error) or repr(error)) from error
        try:
            self._socket = socket
            with contextlib.suppress(ConnectionClosed):  # what it said before is still read
                await self._introduce()
            for due in itertools.count(1):
                async with asyncio.timeout(self._silence_s):
                    text = await socket.recv()
                frame = _parse(text)
                if frame.seq != due:
                    raise _Lost(f"frame {due} was due, {frame.seq} came")
                if self._take(frame):
                    yield frame
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == _BAD_TOKEN:
                raise ApiError(0, "unauthenticated", "the token was refused") from closed
            raise _Lost(str(closed)) from closed
        except TimeoutError as error:
            raise _Lost(f"silent for {self._silence_s} s") from error
        finally:
            self._socket = None
            self._forget_asked()
            await socket.close()

    async def _introduce(self) -> None:
        if self.token:
            await self._send({"op": "auth", "token": self.token})
        subscribe: dict[str, Any] = {"op": "subscribe", "channels": self.channels}
        if self.cursor is not None and "bets" in self.channels:
            subscribe["since"] = self.cursor
        await self._send(subscribe)

    def _take(self, frame: Frame) -> bool:
        """Note what concerns the stream itself. False: the reader has seen this event."""
        if frame.kind == "subscribed":
            self._was_whole = True
        elif frame.kind == "server.shutdown":
            after_ms: int | None = frame.read(_Heading).reconnect_after_ms
            self._pause_s = None if after_ms is None else after_ms / 1_000
        elif frame.kind == "snapshot":
            self.cursor = frame.read(_Heading).cursor
        elif frame.kind in BET_EVENTS:
            return self._take_bet(frame)
        return True

    def _take_bet(self, frame: Frame) -> bool:
        heading: _Heading = frame.read(_Heading)
        if self._answer(frame, heading) and heading.error:
            return False  # `bet` has raised it
        if heading.cursor is None or "bets" not in self.channels:
            return True
        if self.cursor is not None and heading.cursor <= self.cursor:
            return heading.id is not None  # an answer is always handed on
        self.cursor = heading.cursor
        return True

    def _answer(self, frame: Frame, heading: _Heading) -> bool:
        asked = self._asked.get(heading.id) if isinstance(heading.id, str) else None
        if asked is None or asked.done():
            return False
        if heading.error:
            error = ApiError(0, heading.error, heading.message, heading.detail)
            asked.set_exception(error)
        else:
            asked.set_result(frame.read(Bet))
        return True

    def _forget_asked(self) -> None:
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(OutcomeUnknown("the connection was lost"))


def _parse(text: str | bytes) -> Frame:
    try:
        return msgspec.json.decode(text, type=Frame)
    except msgspec.DecodeError as error:
        raise _Lost(f"not a frame: {error}") from error
