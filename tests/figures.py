"""What `/metrics` of a running platform says, and how to wait until it says it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests import stack

Figures = dict[str, float]


def wait_for_part(platform: stack.Stack, words: str) -> None:
    deadline = time.monotonic() + stack.START_S
    while True:
        try:
            platform.pid_of(words)
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def figures(platform: stack.Stack) -> Figures:
    """Each sample by its name and its labels, as they stand in the text."""
    lines = httpx.get(platform.url + "/metrics", timeout=10).text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def until(platform: stack.Stack, what: Callable[[Figures], bool], within_s: float = 30) -> Figures:
    """Look again and again, for what is added up is told within a second or two."""
    deadline = time.monotonic() + within_s
    while not what(found := figures(platform)):
        assert time.monotonic() < deadline, {
            name: value for name, value in found.items() if value and "_bucket" not in name
        }
        time.sleep(0.1)
    return found


def all_told(platform: stack.Stack) -> Figures:
    """With all that has happened before: processes add up for a second, and what they wrote down
    is read once a second."""
    told_at = time.monotonic() + 2.2
    return until(platform, lambda _: time.monotonic() > told_at)


@contextmanager
def stopped(platform: stack.Stack, words: str) -> Iterator[None]:
    """This process does nothing meanwhile."""
    pid = platform.pid_of(words)
    os.kill(pid, signal.SIGSTOP)
    try:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
