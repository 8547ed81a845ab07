"""What waits for the writer: whole requests in order of arrival, in two lanes, bounded.

Traders wait for the answers of one lane; the other holds work that comes by the thousand when a
column closes. While both have something they take turns, a batch each, so that neither waits for
more than one batch of the other.
"""

import asyncio
import math
import time
from collections import deque
from typing import Final

from prometheus_client import Counter, Gauge

from taptrading import metrics
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet.protocol import Command, Outcome, encode_frame

DEPTH: Final = Gauge(
    "writer_queue_depth", "Commands that wait in the writer", multiprocess_mode="livesum"
)
USE: Final = Gauge(
    "writer_queue_use_ratio",
    "Largest share of the writer's queue that was taken within the last second",
    multiprocess_mode="livemax",
)
FULL: Final = Counter("writer_queue_full_total", "Commands refused because the queue was full")
_PEAK: Final = metrics.Peak(USE, LIMITS.writer_queue)


class Request:
    """One frame of commands from one connection."""

    __slots__ = ("background", "commands", "number", "stream", "until")

    def __init__(
        self,
        stream: asyncio.StreamWriter,
        number: int,
        commands: list[Command],
        deaf_since: float = math.inf,
    ) -> None:
        """Nothing is read while a batch is run: it may have waited since before that one."""
        self.stream = stream
        self.number = number
        self.commands = commands
        self.background = any(command.background for command in commands)
        self.until = min(time.monotonic(), deaf_since) + LIMITS.writer_batch_ms / 1_000

    def answer(self, outcomes: list[Outcome]) -> None:
        if not self.stream.is_closing():  # who has gone away asks by-nonce
            self.stream.write(encode_frame(self.number, outcomes))

    def refuse(self, code: str) -> None:
        self.answer([Refusal(code) for _ in self.commands])


class Inbox:
    def __init__(self) -> None:
        self._traders: deque[Request] = deque()
        self._background: deque[Request] = deque()
        self._background_next = False
        self.depth = 0  # commands

    def __bool__(self) -> bool:
        return bool(self._traders or self._background)

    def put(self, request: Request) -> None:
        """One that does not fit is answered `overloaded`."""
        if self.depth + len(request.commands) > LIMITS.writer_queue:
            FULL.inc(len(request.commands))
            request.refuse("overloaded")
            return
        (self._background if request.background else self._traders).append(request)
        self._count(len(request.commands))

    def take(self) -> list[Request]:
        """The next batch: whole requests of one lane, as many as fit. Those that are too late are
        told that nothing was done, so it may be empty."""
        use_background = bool(self._background) and (self._background_next or not self._traders)
        self._background_next = not use_background
        lane = self._background if use_background else self._traders
        requests: list[Request] = []
        size = 0
        now = time.monotonic()
        while lane:
            if requests and size + len(lane[0].commands) > LIMITS.writer_batch:
                break
            request = lane.popleft()
            self._count(-len(request.commands))
            if request.until <= now:
                request.refuse("dependency_unavailable")
                continue
            requests.append(request)
            size += len(request.commands)
        return requests

    def _count(self, commands: int) -> None:
        self.depth += commands
        DEPTH.set(self.depth)
        _PEAK.note(self.depth)
