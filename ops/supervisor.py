"""Keeps the parts of the platform running: starts them in order, restarts what crashes, stops all.

Knows processes, not the platform: what the parts are stands in `ops/parts.py`. Runs in one
thread, without Django, on real time: a replay's clock does not hurry it.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ops.child import Child
from taptrading.clock import US_PER_S, Clock

SUPERVISOR: Final = "platform"
_PROBE_EVERY_S: Final = 0.03

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Part:
    """A program to keep running, or with `once` to run until it succeeded.

    It starts when the parts named in `after` are up (or failed to be within `up_s`). It is up when
    `probe` says so; without a probe, when it was started.

    `listener` is a bound socket that the program is handed to listen on. Other sockets may share
    its address: it listens only while the program runs, so that new connections go to the others.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    probe: Probe | None = None
    listener: socket.socket | None = None
    up_s: float = 20.0
    stop_s: float = 10.0
    once: bool = False


@dataclass(slots=True)
class BackOff:
    """How long to wait before the next start: doubling, bounded, forgiven after a good run."""

    first_s: float = 0.25
    most_s: float = 5.0
    good_run_s: float = 10.0
    failures: int = 0

    def after_run(self, ran_s: float) -> float:
        """Seconds to wait after a run of `ran_s` seconds that ended in failure."""
        if ran_s >= self.good_run_s:
            self.failures = 0
        # The exponent is bounded too: 2.0 ** 1100 would overflow.
        wait_s = min(self.most_s, self.first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return wait_s


class Supervisor:
    """Runs parts until `stop` is called or a signal says so. Stops them in reverse order."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        folder: Path,
        say: Callable[[str, str], None],
        on_up: Callable[[str, float], None] = lambda name, took_s: None,
        on_end: Callable[[int], None] = lambda pid: None,
        back_off: Callable[[], BackOff] = BackOff,
        clock: Clock | None = None,
    ) -> None:
        """`say(part, line)` logs; `on_up(part, seconds since its start)` is called each
        time a part came up, `on_end(pid)` each time a process of a part has ended."""
        self.folder = folder
        self.say = say
        self.on_up = on_up
        self.on_end = on_end
        self.clock = clock or Clock()
        self.stopping = asyncio.Event()
        self._keepers = {part.name: _Keeper(part, self, back_off()) for part in parts}

    async def run(self) -> None:
        """Returns when everything has stopped."""
        keeping = asyncio.gather(*(keeper.keep() for keeper in self._keepers.values()))
        stopped = asyncio.create_task(self.stopping.wait())
        # Either somebody says stop, or there is nothing left to keep, or a keeper is broken.
        waits: list[asyncio.Future[Any]] = [stopped, keeping]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        self.stopping.set()
        for keeper in reversed(self._keepers.values()):
            await keeper.stop()
        await asyncio.gather(*waits)

    def handle_signals(self) -> None:
        """SIGINT and SIGTERM stop in order; a second one kills. So does a closed terminal."""
        loop = asyncio.get_running_loop()
        for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup a hang-up is ignored, and stays so.
            if sent is signal.SIGHUP and signal.getsignal(sent) is signal.SIG_IGN:
                continue
            loop.add_signal_handler(sent, self._signalled, sent)

    def stop(self) -> None:
        self.stopping.set()

    async def is_up(self, name: str) -> None:
        await self._keepers[name].up.wait()

    def up_s(self, name: str) -> float:
        return self._keepers[name].part.up_s

    def _signalled(self, sent: signal.Signals) -> None:
        if self.stopping.is_set():
            self.say(SUPERVISOR, f"{sent.name} again: killing what is left")
            for keeper in self._keepers.values():
                keeper.kill()
            return
        self.say(SUPERVISOR, f"{sent.name}: stopping")
        self.stop()


class _Keeper:
    """Keeps one part running."""

    def __init__(self, part: Part, supervisor: Supervisor, back_off: BackOff) -> None:
        self.part = part
        self.up = asyncio.Event()
        self._supervisor = supervisor
        self._back_off = back_off
        self._child: Child | None = None
        self._was_up = False
        self._started_us = 0
        self._last_words = ""

    async def keep(self) -> None:
        await self._until_stopping(self._prerequisites())
        while not self._supervisor.stopping.is_set():
            self._started_us = self._supervisor.clock.monotonic_us()
            code = await self._run_once()
            if self._supervisor.stopping.is_set():
                return
            if self.part.once and code == 0:
                self._comes_up()
                return
            wait_s = self._back_off.after_run(self._ran_s())
            self._tell_failure(code, wait_s)
            await self._until_stopping(asyncio.sleep(wait_s))

    async def stop(self) -> None:
        self._refuse_newcomers()
        if self._child is not None and not await self._child.stop(self.part.stop_s):
            self._say(f"did not stop within {self.part.stop_s:g} s: killed")

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    async def _run_once(self) -> int | None:
        """Its exit code; None if it could not even be started."""
        try:
            self._child = Child(
                self.part.command,
                environment={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "TAP_PART": self.part.name,  # how its lines call it
                    **self.part.environment,
                },
                folder=self._supervisor.folder,
                on_line=self._hear,
                descriptors=() if self.part.listener is None else (self.part.listener.fileno(),),
            )
        except OSError as problem:
            self._last_words = str(problem)
            return None
        watching = asyncio.create_task(self._watch(self._child))
        code = await self._child.exited
        watching.cancel()
        self._supervisor.on_end(self._child.pid)
        self._refuse_newcomers()
        self.up.clear()
        return code

    def _refuse_newcomers(self) -> None:
        """As our own copy of the socket keeps it open, newcomers would wait for nobody. The next
        run listens on it again."""
        listener = self.part.listener
        # A socket that is shut down while nobody listens on it stays so: whoever listens on it
        # later accepts connections that the kernel resets at their first byte.
        if listener is not None and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    async def _watch(self, child: Child) -> None:
        """Notices that the part came up, or that it takes too long."""
        if self.part.once:
            return
        if self.part.probe is not None:
            late_us = self._supervisor.clock.monotonic_us() + int(self.part.up_s * US_PER_S)
            told = False
            while not await self.part.probe():
                if not told and self._supervisor.clock.monotonic_us() > late_us:
                    told = True
                    self._say(f"runs, but does not answer after {self.part.up_s:g} s")
                await asyncio.sleep(_PROBE_EVERY_S)
        if child.running:
            self._comes_up()

    async def _prerequisites(self) -> None:
        for name in self.part.after:
            bound_s = self._supervisor.up_s(name)
            try:
                async with asyncio.timeout(bound_s):
                    await self._supervisor.is_up(name)
            except TimeoutError:
                self._say(f"starts although {name} is not up after {bound_s:g} s")

    async def _until_stopping(self, work: Awaitable[None]) -> None:
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._supervisor.stopping.wait())
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if doing.done():
            doing.result()
        doing.cancel()

    def _comes_up(self) -> None:
        self._was_up = True
        self.up.set()
        self._supervisor.on_up(self.part.name, self._ran_s())

    def _ran_s(self) -> float:
        return (self._supervisor.clock.monotonic_us() - self._started_us) / US_PER_S

    def _hear(self, line: str) -> None:
        if line:
            self._last_words = line
            self._supervisor.say(self.part.name, line)

    def _say(self, line: str) -> None:
        self._supervisor.say(SUPERVISOR, f"{self.part.name} {line}")

    def _tell_failure(self, code: int | None, wait_s: float) -> None:
        ended = "cannot be started" if code is None else f"ended {_how(code)}"
        if not self._was_up and (code is None or self._back_off.failures >= 3):
            ended += f" and has never been up ({self._last_words or 'it said nothing'})"
        self._say(f"{ended}: starting it again in {wait_s:g} s")


def _how(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"by signal {-code}"
