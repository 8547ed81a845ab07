"""Every other process's end of the writer's socket.

`call` blocks (views, tasks, commands; one connection a thread). `Link` serves an event loop:
commands gather in a bounded queue while batches are under way, so a batch costs one round trip.
"""

import asyncio
import contextlib
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, cast

import msgspec
from django.conf import settings
from django.db import Error as DatabaseError
from prometheus_client import Counter, Gauge

from taptrading import journal, metrics
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

QUEUE_DEPTH = Gauge(
    "entry_queue_depth", "Commands that wait for the writer", multiprocess_mode="livesum"
)
QUEUE_USE = Gauge(
    "entry_queue_use_ratio",
    "Largest share of the queue for the writer that was taken within the last second",
    multiprocess_mode="livemax",
)
QUEUE_FULL = Counter("entry_queue_full_total", "Commands refused because the queue was full")


def _look_at_queue() -> None:
    """Once a second rather than with every command."""
    depth = 0 if _link is None else _link.depth()
    QUEUE_DEPTH.set(depth)
    _PEAK.note(depth)


metrics.on_flush(_look_at_queue)  # before the peak is told
_PEAK: Final = metrics.Peak(QUEUE_USE, LIMITS.entry_queue)

# So many commands make a batch of their own while others are under way: the writer has something
# to do while this process still reads and checks the rest of what came in at once.
ENOUGH: Final = 64
BATCHES_UNDER_WAY: Final = 8

# Told the outcome, or why there is none.
Answered = Callable[[Outcome | DependencyError], None]
Waiter = tuple[Command, Answered]


class Link:
    """The event loop's connection. `start` in the loop; all the rest on the loop's thread.

    What comes to an idle link goes out at the end of the loop's turn, with its neighbours. What
    comes while a batch is under way gathers until the writer answers, or until it is `ENOUGH`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiting: deque[tuple[Command, Answered, float]] = deque()
        self._under_way: deque[tuple[int, list[Waiter], asyncio.TimerHandle]] = deque()
        self._wire: _Wire | None = None
        self._send_is_due = False
        self._closing = False
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether it takes commands."""
        return self._wire is not None and not self._closing

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="writer-link")

    def finish(self) -> None:
        """Take no more; close once what was taken is answered."""
        self._closing = True
        self._close_if_done()

    async def stop(self) -> None:
        """Finish what is queued, within the time of one batch, then close."""
        self.finish()
        if self._task is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(REPLY_TIMEOUT_S):
                    await self._task

    async def call(self, command: Command) -> Outcome:
        """The command's outcome, or a Refusal `overloaded`.

        Raises DependencyError (nothing was done) or OutcomeUnknown (sent, the answer is lost).
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.post(command, partial(_settle, future))
        return await future

    def post(self, command: Command, answered: Answered) -> None:
        """`call` for those who wait without a task: `answered` gets what it would return or
        raise, perhaps before this returns."""
        if self._wire is None or self._closing:
            answered(DependencyError("the writer cannot be reached"))
        elif len(self._waiting) >= LIMITS.entry_queue:
            QUEUE_FULL.inc()
            _PEAK.note(len(self._waiting))
            answered(Refusal("overloaded"))
        else:
            self._waiting.append((command, answered, time.monotonic() + PATIENCE_S))
            if len(self._waiting) >= ENOUGH:
                self._send()
            elif not self._under_way and not self._send_is_due:
                self._send_is_due = True
                self._loop.call_soon(self._send)

    async def _run(self) -> None:
        delays = iter(RECONNECT_S)
        while not self._closing:
            try:
                _, wire = await self._loop.create_unix_connection(
                    lambda: _Wire(self._take), self._path
                )
            except OSError:
                await asyncio.sleep(next(delays, RECONNECT_S[-1]))
                continue
            delays = iter(RECONNECT_S)
            self._wire = wire
            try:
                await wire.lost
            finally:
                self._wire = None
                wire.close()
                self._give_up()
            if not self._closing:
                log.warning("link to the writer lost")

    def _send(self) -> None:
        """The next batch, if there is one and not too many are under way."""
        self._send_is_due = False
        _PEAK.note(len(self._waiting))
        if len(self._under_way) >= BATCHES_UNDER_WAY or self._wire is None:
            return
        batch = self._next_batch()
        if batch:
            self._number += 1
            commands = [command for command, _ in batch]
            patience = self._loop.call_later(REPLY_TIMEOUT_S, self._wire.give_up)
            self._under_way.append((self._number, batch, patience))
            self._wire.send(encode_frame(self._number, commands))
        else:
            self._close_if_done()

    def _next_batch(self) -> list[Waiter]:
        """What has not waited too long: who has is told that nothing was done."""
        now = time.monotonic()
        batch: list[Waiter] = []
        while self._waiting and len(batch) < LIMITS.writer_batch:
            command, answered, until = self._waiting.popleft()
            if now < until:
                batch.append((command, answered))
            else:
                _tell(answered, DependencyError("the writer does not keep up"))
        return batch

    def _take(self, body: bytes) -> None:
        """A frame came. Raises FrameError when it is no answer to the oldest batch under way."""
        if not self._under_way:
            raise FrameError("a reply to nothing")
        expected, batch, patience = self._under_way[0]
        number, outcomes = decode_outcomes(body, [command for command, _ in batch])
        if number != expected:
            raise FrameError(f"reply {number} to batch {expected}")
        patience.cancel()
        self._under_way.popleft()
        self._send()  # the writer works on the next batch while this one's waiters are told
        for (_, answered), outcome in zip(batch, outcomes, strict=True):
            _tell(answered, outcome)

    def _close_if_done(self) -> None:
        if self._closing and self._wire is not None and not (self._under_way or self._waiting):
            self._wire.close()

    def _give_up(self) -> None:
        """The connection is gone: what was sent may have been done, what was not was not."""
        under_way, self._under_way = self._under_way, deque()
        for _, batch, patience in under_way:
            patience.cancel()
            for _, answered in batch:
                _tell(answered, OutcomeUnknown("the writer's answer is lost"))
        while self._waiting:
            _, answered, _ = self._waiting.popleft()
            _tell(answered, DependencyError("the writer cannot be reached"))

    def depth(self) -> int:
        """How many commands wait."""
        return len(self._waiting)


class _Wire(asyncio.Protocol):
    """One connection: whole frames out of whatever pieces come."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._unread = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class
        self.send = self._transport.write

    def data_received(self, data: bytes) -> None:
        self._unread += data
        try:
            while (body := self._next_frame()) is not None:
                self._take(body)
        except FrameError as error:
            log.warning("the writer sent what was not asked for: %s", error)
            self._transport.abort()
        except Exception:  # whatever it is, the next connection starts anew
            log.exception("link to the writer broken")
            self._transport.abort()

    def _next_frame(self) -> bytes | None:
        unread = self._unread
        if len(unread) < HEADER.size:
            return None
        end = HEADER.size + frame_length(bytes(unread[: HEADER.size]))
        if len(unread) < end:
            return None
        body = bytes(unread[HEADER.size : end])
        del unread[:end]
        return body

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def give_up(self) -> None:
        """Late answers have nobody to reach."""
        log.warning("the writer does not answer")
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()


def _tell(answered: Answered, answer: Outcome | DependencyError) -> None:
    """One waiter that fails must not keep the others from their answers."""
    try:
        answered(answer)
    except Exception:
        log.exception("an answer of the writer could not be handled")


def _settle(future: "asyncio.Future[Outcome]", answer: Outcome | DependencyError) -> None:
    if future.done():  # a cancelled waiter is nobody's concern any more
        return
    if isinstance(answer, DependencyError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


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
    outcome = _caller(command)
    if journal.wanted():
        journal.write("commanded", command=type(command).__name__, outcome=_word(outcome))
    return outcome


def _word(outcome: Outcome) -> str:
    """The code of a refusal, or the first field of what came of it: an id, where there is one."""
    if isinstance(outcome, Refusal):
        return outcome.code
    return str(next(iter(msgspec.structs.astuple(outcome)), ""))


@contextmanager
def carried_out() -> Iterator[None]:
    """For the reads after a command that succeeded: where they fail, it is done all the same.
    Raises OutcomeUnknown."""
    try:
        yield
    except DatabaseError as error:
        raise OutcomeUnknown(f"done, but it cannot be read: {error}") from error


def use(caller: Callable[[Command], Outcome] | None) -> None:
    """Answer `call` by another function (tests run the writer in process), or by the socket."""
    global _caller
    _caller = caller or _call_over_socket
