"""The writer as a process: a Unix socket, its inbox, one batch after another.

Batches run on the event loop's own thread: nothing else here needs the time they take, and one
thread has one order of events.
"""

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from django.db import DatabaseError

from taptrading import clock
from taptrading.errors import Refusal
from wallet import balances, events
from wallet.inbox import Inbox, Request
from wallet.protocol import (
    HEADER,
    Command,
    FrameError,
    Outcome,
    command_decoder,
    encode_frame,
    frame_length,
)
from wallet.telling import Untold
from wallet.writer import Writer

log = logging.getLogger(__name__)

# A message takes several turns of the loop, and a busy writer leaves it so many after a batch.
# With so many messages untold it pauses until they are, or a moment has passed.
TURNS: Final = 3
UNTOLD_ENOUGH: Final = 5
TELLING_S: Final = 0.05
# When the last batch had so many commands, the next one begins after so many times what that one
# took, counted from its beginning, after so long at most, and at once when so many wait.
IN_COMPANY: Final = 16
SPACING: Final = 2.0
GATHER_S: Final = 0.015
ENOUGH: Final = 100
# How often the writer looks for due work when nothing wakes it.
IDLE_S: Final = 0.05
# Due work can be repeated, so it takes little of the time that requests have; once refused, it
# pauses, longer each time.
DUE_PATIENCE_S: Final = 0.2
DUE_PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0)

Publish = Callable[[str, bytes], Awaitable[Any]]


class WriterServer:
    """Serve `writer` at `path` until `stop`; `publish(kind, payload)` tells the other processes."""

    def __init__(self, writer: Writer, path: Path, publish: Publish) -> None:
        self.writer = writer
        self._path = path
        self._publish = publish
        self._decode = command_decoder(writer.kinds)
        self._inbox = Inbox()
        self._wake = asyncio.Event()
        self._stopping = False
        self._streams: set[asyncio.StreamWriter] = set()
        self._untold = Untold(time.time_ns() // 1_000_000)
        self._tell = asyncio.Event()
        self._told = asyncio.Event()
        self._changes = balances.Changes()
        # When the batch began after which nothing that waited has been read yet.
        self._deaf_since = math.inf
        self._last_size = 0
        self._next_s = 0.0
        self._due_refused = 0
        self._due_after = 0.0

    def wake(self) -> None:
        """Something may have become due."""
        self._wake.set()

    def stop(self) -> None:
        """Finish what is queued, then return from `serve`."""
        self._stopping = True
        self._wake.set()

    async def serve(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # left behind by a writer that was killed
        server = await asyncio.start_unix_server(self._connected, str(self._path), backlog=1024)
        os.chmod(self._path, 0o600)
        teller = asyncio.create_task(self._tell_others(), name="writer-events")
        self.tell(self._untold.beginning())
        log.info("writer ready at %s", self._path)
        try:
            await self._work()
        finally:
            server.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            for stream in list(self._streams):
                stream.close()
            self._tell.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await teller

    async def _connected(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        self._streams.add(stream)
        try:
            while not self._stopping:
                header = await reader.readexactly(HEADER.size)
                body = await reader.readexactly(frame_length(header))
                number, commands = self._decode(body)
                if commands:
                    self._take(Request(stream, number, commands, self._deaf_since))
                else:  # somebody asks whether we are there
                    stream.write(encode_frame(number, []))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (FrameError, msgspec.MsgspecError) as error:
            log.error("a frame that is no batch of commands: %s", error)
        finally:
            self._streams.discard(stream)
            stream.close()

    def _take(self, request: Request) -> None:
        self._inbox.put(request)
        self._wake.set()

    async def _work(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._wake.wait()
            self._wake.clear()
            self._tell_balances()
            self._run_due()
            while self._inbox:
                await self._gather()
                self._run_inbox()
                await asyncio.sleep(0)  # read what has arrived meanwhile, send the answers
                await self._leave_turns()
                self._run_due()
            if self._stopping:
                return
            await asyncio.sleep(0)
            self._deaf_since = math.inf

    async def _gather(self) -> None:
        """A batch costs something however small it is: half a millisecond or five, by the machine,
        its disk and the size of the tables. While so many come that each one has company, a short
        wait makes fewer and larger ones of them, and leaves the core to others meanwhile."""
        wait_s = self._next_s - time.monotonic()
        if wait_s > 0 and self._last_size >= IN_COMPANY and self._inbox.depth < ENOUGH:
            await asyncio.sleep(wait_s)

    async def _leave_turns(self) -> None:
        """To what is being told."""
        for _ in range(TURNS):
            if not self._untold:
                return
            await asyncio.sleep(0)
        if len(self._untold) > UNTOLD_ENOUGH:
            await self._until_told()

    async def _until_told(self) -> None:
        """Else confirmations would lag behind a load that does not let up, ever further."""
        self._told.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELLING_S):
                await self._told.wait()

    def _run_due(self) -> None:
        """What is due, in batches that leave room for the inbox between them."""
        if time.monotonic() < self._due_after:
            return
        try:
            batches = self.writer.due(clock.now_us())
        except DatabaseError as error:
            self._pause_due(error)
            return
        for commands in batches:
            outcomes = self._run(commands, DUE_PATIENCE_S)
            if isinstance(outcomes[0], Refusal):
                self._pause_due(outcomes[0].code)
                return
            self._due_refused = 0
            self._wake.set()  # there may be more of it

    def _pause_due(self, why: object) -> None:
        pause_s = DUE_PAUSES_S[min(self._due_refused, len(DUE_PAUSES_S) - 1)]
        self._due_refused += 1
        self._due_after = time.monotonic() + pause_s
        log.warning("due work waits for %.1f s: %s", pause_s, why)

    def _run_inbox(self) -> None:
        """One batch of what waits."""
        requests = self._inbox.take()
        if not requests:
            return
        began_s = time.monotonic()
        patience_s = min(request.until for request in requests) - began_s
        outcomes = self._run(
            [command for request in requests for command in request.commands], patience_s
        )
        start = 0
        for request in requests:
            end = start + len(request.commands)
            request.answer(outcomes[start:end])
            start = end
        if not requests[0].background:
            self._last_size = start
            took_s = time.monotonic() - began_s
            self._next_s = began_s + min(GATHER_S, SPACING * took_s)

    def _run(self, commands: list[Command], patience_s: float) -> list[Outcome]:
        self._deaf_since = time.monotonic()
        outcomes, told = self.writer.run(commands, patience_s)
        happened = [event for event in told if type(event) is events.Event]
        if happened:
            self._untold.add(happened)
            self._tell.set()
            self._changes.add(happened)
            self._tell_balances()
        if len(happened) < len(told):
            for notice in told:
                if isinstance(notice, events.Notice):
                    self.tell(notice)
        return outcomes

    def _tell_balances(self) -> None:
        if (notice := self._changes.notice(time.monotonic())) is not None:
            self.tell(notice)

    def tell(self, notice: events.Notice) -> None:
        """Publish in turn; never blocks."""
        self._untold.notify(notice)
        self._tell.set()

    async def _tell_others(self) -> None:
        """Publish in order. What is lost shows as a gap in the numbers."""
        while not (self._stopping and not self._untold):
            self._tell.clear()
            if not self._untold:
                self._told.set()
                await self._tell.wait()
                continue
            try:
                notice = self._untold.popleft()
                await self._publish(notice.kind, notice.payload)
            except Exception:  # whatever it is, the next message may get through
                log.exception("a message could not be published")
