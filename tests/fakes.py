"""Stand-ins for what would need a process of its own: the same code, run in this one."""

import asyncio
import queue
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from taptrading import clock
from taptrading.errors import DependencyError, Refusal
from wallet import link
from wallet.events import Told
from wallet.nonces import Admitted, Claim
from wallet.protocol import Command, Outcome
from wallet.writer import Handler, Writer

P = ParamSpec("P")
T = TypeVar("T")


class ManualClock(clock.Clock):
    """A clock that stands still until it is moved."""

    def __init__(self, now_us: int = 1_764_000_000_000_000) -> None:
        self.us = now_us

    def now_us(self) -> int:
        return self.us

    def monotonic_us(self) -> int:
        return self.us

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * clock.US_PER_S)


@contextmanager
def standing_clock(now_us: int = 1_764_000_000_000_000) -> Iterator[ManualClock]:
    before, manual = clock.current(), ManualClock(now_us)
    clock.use(manual)
    try:
        yield manual
    finally:
        clock.use(before)


class FakeNonces:
    """Admits every bet, unless told that Redis is away; keeps what it was told afterwards."""

    def __init__(self) -> None:
        self.away = False
        self.given_back: list[Claim] = []
        self.refused: list[tuple[Claim, Refusal]] = []

    def admit(self, bets: list[Claim], now_us: int) -> list[Admitted]:
        if self.away:
            raise DependencyError("Redis is away")
        return [Admitted(None, 19, 100_000) for _ in bets]

    def settle(self, give_back: list[Claim], refused: list[tuple[Claim, Refusal]]) -> None:
        self.given_back += give_back
        self.refused += refused


class InProcessLink:
    """`link.call` answered by a writer in this process, on this process's database."""

    def __init__(self, handlers: list[Handler]) -> None:
        self.writer = Writer(handlers)
        self.told: list[Told] = []

    def call(self, command: Command) -> Outcome:
        return self.run([command])[0]

    def run(self, commands: list[Command]) -> list[Outcome]:
        outcomes, told = self.writer.run(commands)
        self.told += told
        return outcomes

    def run_due(self) -> int:
        """Carry out what is due now, until nothing is. Returns the number of batches."""
        batches = 0
        while due := self.writer.due(clock.now_us()):
            for commands in due:
                self.run(commands)
                batches += 1
        return batches


@contextmanager
def in_process_link(handlers: list[Handler]) -> Iterator[InProcessLink]:
    server = InProcessLink(handlers)
    link.use(server.call)
    try:
        yield server
    finally:
        link.use(None)


class DatabaseThread:
    """Runs a coroutine in a thread of its own while this one, which holds the test's transaction,
    answers what the coroutine asks of the database."""

    def __init__(self) -> None:
        self._asked: queue.Queue[Callable[[], None]] = queue.Queue()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(asyncio.run, coroutine)
            future.add_done_callback(lambda _: self._asked.put(lambda: None))
            while not future.done():
                self._asked.get()()
            return future.result()

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`in_thread`, for a test: the function's result from the thread with the database."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(function(*args, **kwargs))
            except BaseException as error:
                answer.set_exception(error)

        self._asked.put(work)
        return await asyncio.wrap_future(answer)
