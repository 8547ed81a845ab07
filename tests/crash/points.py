"""Crash points: the story of `tests.crash.story`, killed or failed at every write and fsync.

After each: what was acknowledged is there, what was not is there whole or not at all, the ledger
verifies, and the story told again comes to the same end. A part of the points crash once more
while they recover.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.benchmarks.history import migrated
from tests.crash.disk import Action, Shim
from tests.stack import ROOT

DONE: Final = 0
PATIENCE_S: Final = 60
TWICE_SHARE: Final = 0.25
RECOVERY: Final = 40  # so many writes and syncs, or more, are its own
FAILURES: Final = (1, 3)  # so many calls in a row


class Point(NamedTuple):
    """The `call`-th write of the story, what happens at it, and at which call of the recovery it
    happens again (0: at none)."""

    call: int
    action: Action
    times: int = 1
    again: int = 0


class Violation(AssertionError):
    """Something acknowledged was lost, or something half-done was left."""


class Nursery:
    """The warm process that tells the story in children of its own."""

    def __init__(self, folder: Path) -> None:
        self.data: Final = folder / "data"
        self._untouched = folder / "untouched"
        if not self._untouched.exists():
            migrated(folder)
            self.data.rename(self._untouched)
        self.shim = Shim(folder)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.story"],
            cwd=ROOT,
            env=os.environ
            | self.shim.environment
            | {
                "DATA_DIR": str(self.data),
                "DJANGO_SETTINGS_MODULE": "taptrading.settings",
                "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
                "LOG_LEVEL": "CRITICAL",
                "REDIS_URL": "unix:///nowhere",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.told: list[str] = []  # the state before and after each batch of an untroubled story
        self.calls = 0
        self._learn()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _learn(self) -> None:
        self.fresh()
        self.told = [self._look("before the story")]
        before = self.shim.calls
        found = self.ask("play")
        if found["code"] != DONE:
            raise AssertionError(f"the story cannot be told: {found}")
        self.calls = self.shim.calls - before
        self.told += [said["state"] for said in found["said"]]

    def fresh(self) -> None:
        """The file as it was before the story."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self._untouched, self.data)

    def ask(self, deed: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: PT018
        self._process.stdin.write(json.dumps({"do": deed}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the process that tells the story is gone")
        found: dict[str, Any] = json.loads(line)
        return found

    # A point.

    def suffer(self, point: Point) -> None:
        """Raises Violation."""
        self.check(point, self.strike(point))
        if point.again:
            self.shim.arm(point.again, point.action, point.times)
            self.ask("play")
            self.shim.disarm()
            self._look(f"{point}, after it crashed again")
        end = self.ask("play")
        if end["code"] != DONE:
            raise Violation(f"{point}: it does not go on: {end}")
        if (state := self._look(f"{point}, at the end")) != self.told[-1]:
            raise Violation(f"{point}: it ends otherwise:\n{state}\n{self.told[-1]}")

    def strike(self, point: Point) -> dict[str, Any]:
        """The story from its beginning, as far as it came, and what was said."""
        self.fresh()
        fired = self.shim.fired
        self.shim.arm(point.call, point.action, point.times)
        found = self.ask("play")
        self.shim.disarm()
        if self.shim.fired == fired or found["killed"] != point.action.kills:
            raise AssertionError(f"{point} did not happen: {found}")
        return found

    def check(self, point: Point, found: dict[str, Any]) -> None:
        """There is what was acknowledged, and the batch that was under way whole or not at all."""
        states = [said["state"] for said in found["said"] if "state" in said]
        batches = len(states)
        if states != self.told[1 : batches + 1]:
            raise Violation(f"{point}: it acknowledged what it should not: {found}")
        state, allowed = self._look(str(point)), self.told[batches : batches + 2]
        if state not in allowed:
            raise Violation(f"{point}: after {batches} batches:\n{state}\n{allowed}")

    def _look(self, when: str) -> str:
        found = self.ask("look")
        if found["code"] != DONE or not found["said"]:
            raise Violation(f"{when}: it cannot be opened: {found}")
        (said,) = found["said"]
        if said["findings"]:
            raise Violation(f"{when}: the ledger does not verify: {said['findings']}")
        return str(said["state"])


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    with Nursery(folder) as made:
        yield made


def spread(calls: int, action: Action, count: int) -> list[Point]:
    """`count` points of one action all along the story, at other calls than those of the others;
    the last of them crash again early in the recovery."""
    step = calls / count
    shift = step * action / (len(Action) + 1)
    points = [Point(1 + int(n * step + shift), action) for n in range(count)]
    again = points[-count // 4 :]
    return points[: -len(again)] + [
        point._replace(again=1 + (7 * point.call) % RECOVERY) for point in again
    ]


def some_points(calls: int, count: int, rng: random.Random) -> list[Point]:
    """Every call with every action as far as `count` goes, in an order of its own."""
    every = [Point(call, action) for call in range(1, calls + 1) for action in Action]
    rng.shuffle(every)
    rounds = -(-count // len(every))
    return [_varied(point, calls, rng) for point in (every * rounds)[:count]]


def _varied(point: Point, calls: int, rng: random.Random) -> Point:
    times = 1 if point.action.kills else rng.choice(FAILURES)
    again = rng.randint(1, calls) if rng.random() < TWICE_SHARE else 0
    return point._replace(times=times, again=again)
