"""One seed's world: simulated time, one scheduler, processes that can be killed at any step.

Nothing here asks the machine for the time or for chance. What runs at once in reality takes turns:
an event is a function with a time; a task is code that may wait, in a greenlet of its own.
"""

import hashlib
import heapq
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from taptrading import clock

START_US: Final = 1_764_000_000_000_000
REMEMBERED: Final = 60  # lines of the trace that a failure can show
S: Final = 1_000_000
MS: Final = 1_000

Deed = Callable[[], Any]


class Died(BaseException):
    """The process that runs this was killed here. Nothing may catch it but its process."""


class Violation(AssertionError):
    """An invariant does not hold in this history."""


class WorldClock(clock.Clock):
    """The wall clock of the simulated machine: it may be set. Its monotonic one may not."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def now_us(self) -> int:
        return self._world.us + self._world.offset_us

    def monotonic_us(self) -> int:
        return self._world.us


class WorldTime:
    """Stands where a module of the platform says `time`."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.us / S

    def time_ns(self) -> int:
        return (self._world.us + self._world.offset_us) * 1_000

    def sleep(self, seconds: float) -> None:
        self._world.pause(round(seconds * S))


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.us = 0
        self.offset_us = START_US
        self.latest_wall_us = START_US
        self.steps = 0
        self.faults: Counter[str] = Counter()
        self.current: Process | None = None
        self.heard: Callable[[str], None] | None = None
        self.recent: deque[str] = deque(maxlen=REMEMBERED)
        self._hash = hashlib.sha256()
        self._queue: list[tuple[int, int, str, Deed]] = []
        self._number = 0
        self._main = getcurrent()

    # Time and events.

    @property
    def wall_us(self) -> int:
        return self.us + self.offset_us

    def after(self, delay_us: int, name: str, deed: Deed) -> None:
        self._number += 1
        heapq.heappush(self._queue, (self.us + max(delay_us, 0), self._number, name, deed))

    def pass_time(self, us: int) -> None:
        """The code that runs takes this long."""
        self.us += us
        self.latest_wall_us = max(self.latest_wall_us, self.wall_us)

    def set_clock(self, by_us: int) -> None:
        self.offset_us += by_us
        self.latest_wall_us = max(self.latest_wall_us, self.wall_us)

    def step(self) -> None:
        """Carry out the next event."""
        at_us, _, name, deed = heapq.heappop(self._queue)
        if at_us > self.us:
            self.pass_time(at_us - self.us)
        self.steps += 1
        self.note(name)
        deed()

    def note(self, text: str) -> None:
        """A line of the trace: what happens is what is hashed."""
        who = self.current.name if self.current else "-"
        line = f"{self.steps:>6} {self.us / S:>11.6f} {who:<8} {text}"
        self.recent.append(line)
        if self.heard is not None:
            self.heard(line)
        self._hash.update(line.encode() + b"\n")

    def fault(self, kind: str) -> None:
        self.faults[kind] += 1
        self.note(f"FAULT {kind}")

    def digest(self, more: bytes) -> str:
        """Of the whole trace, and of what is handed in."""
        whole = self._hash.copy()
        whole.update(more)
        return whole.hexdigest()

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # Tasks.

    def pause(self, us: int) -> None:
        """Let others go on for so long; where nobody can, time passes all the same."""
        task = getcurrent()
        if isinstance(task, Task):
            self.after(us, f"{task.label} goes on", task.go_on)
            self._park()
        else:
            self.pass_time(us)

    def wait(self, begin: Callable[[Callable[[Any], None]], None]) -> Any:
        """What `answered` is called with first, by anything that `begin` sets going."""
        task = getcurrent()
        assert isinstance(task, Task)
        answers: list[Any] = []

        def answered(value: Any) -> None:
            if not answers:
                answers.append(value)
                if waits:
                    self.after(0, f"{task.label} hears", task.go_on)

        waits = False
        begin(answered)
        if not answers:
            waits = True
            self._park()
        return answers[0]

    def _park(self) -> None:
        self._main.switch()


class Task(greenlet):
    """Code of a process that may wait."""

    def __init__(self, process: "Process", label: str, deed: Deed) -> None:
        super().__init__(self._work, parent=process.world._main)
        self.process = process
        self.label = label
        self._deed = deed

    def go_on(self) -> None:
        """From the scheduler only."""
        if self.dead or not self.process.alive:
            return
        self.process.do(self.switch)

    def kill(self) -> None:
        if not self.dead and self:
            self.throw(Died())

    def _work(self) -> None:
        try:
            self._deed()
        except Died:
            self.process.died = True
        except Exception as error:
            self.process.failed(error)


class Process:
    """A process of the platform; a new one takes its place after it died."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.died = False
        self._tasks: list[Task] = []

    def do(self, deed: Deed) -> None:
        """Run code of this process. It may die of it."""
        if not self.alive:
            return
        before, self.world.current = self.world.current, self
        try:
            deed()
        except Died:
            self.died = True
        except Exception as error:
            self.failed(error)
        finally:
            self.world.current = before
        if self.died:
            self.kill()

    def spawn(self, label: str, deed: Deed) -> None:
        """Run code of this process that may wait."""
        if not self.alive:
            return
        task = Task(self, label, deed)
        self._tasks = [task, *(known for known in self._tasks if not known.dead)]
        task.go_on()

    def kill(self) -> None:
        """Its memory is gone, and all that it was about to do."""
        if not self.alive:
            return
        self.died, self.alive = True, False
        before, self.world.current = self.world.current, self
        for task in self._tasks:
            task.kill()
        self._tasks = []
        self.world.current = before
        self.world.note(f"{self.name} is dead")
        self.ended()

    def end_of_world(self) -> None:
        """Let go of what waits; nothing is looked at any more."""
        self.died, self.alive = True, False
        for task in self._tasks:
            task.kill()

    def failed(self, error: Exception) -> None:
        """Code of this process raised what nothing of it handles."""
        raise error

    def ended(self) -> None:
        """After its death."""
