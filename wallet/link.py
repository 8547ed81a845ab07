"""Every other process's end of the writer's socket.

`call` blocks (views, tasks, commands; one connection a thread). `Link` serves an event loop:
commands gather in a bounded queue while one batch is under way, so a batch costs one round trip.
"""

import asyncio
import contextlib
import itertools
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from django.conf import settings
from prometheus_client import Counter, Gauge

from taptrading.errors import DependencyError, OutcomeUnknown, Refusal
from taptrading.limits import LIMITS
from wallet.protocol import (
    HEADER,
    Command,
    FrameError,
    Outcome,
    decode_outcomes,
    encode_frame,
    frame_length,
)

log = logging.getLogger(__name__)

# The writer gives a batch 3 s in all, from its arrival; whoever waits gives it a little longer.
# What could not be sent within the same time is not sent any more.
PATIENCE_S: Final = LIMITS.writer_batch_ms / 1_000
REPLY_TIMEOUT_S: Final = PATIENCE_S + 1.0
RECONNECT_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)

QUEUE_DEPTH = Gauge("entry_queue_depth", "Commands that wait for the writer in this process")
QUEUE_FULL = Counter("entry_queue_full_total", "Commands refused because the queue was full")


class Link:
    """The event loop's connection. `start` in the loop; `call` from its coroutines."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiting: deque[tuple[Command, asyncio.Future[Outcome], float]] = deque()
        self._wake = asyncio.Event()
        self._connected = False
        self._closing = False
        self._numbers = itertools.count(1)
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._connected

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="writer-link")

    async def stop(self) -> None:
        """Finish what is queued, within the time of one batch, then close."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, REPLY_TIMEOUT_S)

    async def call(self, command: Command) -> Outcome:
        """The command's outcome, or a Refusal `overloaded`.

        Raises DependencyError (nothing was done) or OutcomeUnknown (sent, the answer is lost).
        """
        if not self._connected or self._closing:
            raise DependencyError("the writer cannot be reached")
        if len(self._waiting) >= LIMITS.entry_queue:
            QUEUE_FULL.inc()
            return Refusal("overloaded")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future, time.monotonic() + PATIENCE_S))
        self._wake.set()
        return await future

    async def _run(self) -> None:
        delays = iter(RECONNECT_S)
        while not (self._closing and not self._waiting):
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                self._refuse_waiting()
                await asyncio.sleep(next(delays, RECONNECT_S[-1]))
                continue
            delays = iter(RECONNECT_S)
            self._connected = True
            try:
                await self._serve(reader, writer)
            except (OSError, EOFError, FrameError, TimeoutError) as error:
                log.warning("link to the writer lost: %r", error)
            except Exception:  # whatever it is, the next connection starts anew
                log.exception("link to the writer broken")
            finally:
                self._connected = False
                self._refuse_waiting()
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if not self._waiting:
                if self._closing:
                    return
                await self._wait_for_work(reader)
                continue
            batch = self._next_batch()
            if not batch:
                continue
            try:
                outcomes = await asyncio.wait_for(
                    self._exchange(reader, writer, [command for command, _ in batch]),
                    REPLY_TIMEOUT_S,
                )
            except BaseException:
                for _, future in batch:
                    _fail(future, OutcomeUnknown("the writer's answer is lost"))
                raise
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():  # a cancelled waiter is nobody's concern any more
                    future.set_result(outcome)

    def _next_batch(self) -> list[tuple[Command, asyncio.Future[Outcome]]]:
        """What has not waited too long: who has is told that nothing was done."""
        now = time.monotonic()
        batch: list[tuple[Command, asyncio.Future[Outcome]]] = []
        while self._waiting and len(batch) < LIMITS.writer_batch:
            command, future, until = self._waiting.popleft()
            if now < until:
                batch.append((command, future))
            else:
                _fail(future, DependencyError("the writer does not keep up"))
        QUEUE_DEPTH.set(len(self._waiting))
        return batch

    async def _wait_for_work(self, reader: asyncio.StreamReader) -> None:
        """Until there is work; raises EOFError when the writer goes away meanwhile."""
        self._wake.clear()
        wake = asyncio.ensure_future(self._wake.wait())
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({wake, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise EOFError("the writer closed the connection")
        finally:
            for task in (wake, gone):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commands: list[Command]
    ) -> list[Outcome]:
        number = next(self._numbers)
        writer.write(encode_frame(number, commands))
        await writer.drain()
        header = await reader.readexactly(HEADER.size)
        body = await reader.readexactly(frame_length(header))
        answered, outcomes = decode_outcomes(body, commands)
        if answered != number:
            raise FrameError(f"reply {answered} to batch {number}")
        return outcomes

    def _refuse_waiting(self) -> None:
        """What was never sent was never done."""
        while self._waiting:
            _, future, _ = self._waiting.popleft()
            _fail(future, DependencyError("the writer cannot be reached"))


def _fail(future: "asyncio.Future[Outcome]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


_link: Link | None = None


def start() -> Link:
    """This process's link; call inside the event loop."""
    global _link
    _link = Link(str(settings.WRITER_SOCKET))
    _link.start()
    return _link


def current() -> Link:
    if _link is None:
        raise DependencyError("this process has no link to the writer")
    return _link


class _Blocking:
    """One thread's connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._number = 0

    def call(self, command: Command) -> Outcome:
        connection = self._fresh()
        self._number += 1
        try:
            connection.sendall(encode_frame(self._number, [command]))
            body = self._receive(frame_length(self._receive(HEADER.size)))
            number, (outcome,) = decode_outcomes(body, [command])
            if number != self._number:
                raise FrameError(f"reply {number} to batch {self._number}")
        except (OSError, EOFError, FrameError) as error:
            self._close()
            raise OutcomeUnknown(f"the writer's answer is lost: {error}") from error
        return outcome

    def _fresh(self) -> socket.socket:
        """The open connection, or a new one if the writer has gone away since."""
        if self._socket is not None and _is_readable(self._socket):
            self._close()  # while nothing was asked: closed, or out of step
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(REPLY_TIMEOUT_S)
            try:
                connection.connect(self._path)
            except OSError as error:
                connection.close()
                raise DependencyError(f"the writer cannot be reached: {error}") from error
            self._socket = connection
        return self._socket

    def _receive(self, size: int) -> bytes:
        assert self._socket is not None
        parts = []
        while size:
            part = self._socket.recv(min(size, 1 << 20))
            if not part:
                raise EOFError("the writer closed the connection")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()  # unlike select, it takes descriptors above 1023
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


_threads = threading.local()


def _call_over_socket(command: Command) -> Outcome:
    if not hasattr(_threads, "connection"):
        _threads.connection = _Blocking(str(settings.WRITER_SOCKET))
    return _threads.connection.call(command)


_caller: Callable[[Command], Outcome] = _call_over_socket


def call(command: Command) -> Outcome:
    """Carry out one command and wait for its outcome.

    Raises DependencyError (nothing was done) or OutcomeUnknown (sent, the answer is lost).
    """
    return _caller(command)


def use(caller: Callable[[Command], Outcome] | None) -> None:
    """Answer `call` by another function (tests run the writer in process), or by the socket."""
    global _caller
    _caller = caller or _call_over_socket
