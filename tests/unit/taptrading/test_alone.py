"""Work that is asked for again while it is on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from taptrading.alone import alone

PATIENCE_S = 10


class Work:
    """Runs until it is let go; says how many runs there were, and how many at once."""

    def __init__(self) -> None:
        self.runs = 0
        self.most = 0
        self._on = 0
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self) -> int:
        self.runs += 1
        self._on += 1
        self.most = max(self.most, self._on)
        self.begun.release()
        assert self.go.acquire(timeout=PATIENCE_S)
        self._on -= 1
        return self.runs


def test_work_when_asked_for_while_it_is_on_then_nobody_waits_and_it_runs_once_more() -> None:
    work = Work()
    run = alone(work)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run)
        assert work.begun.acquire(timeout=PATIENCE_S)
        assert [run() for _ in range(5)] == [None] * 5
        work.go.release(2)
        assert first.result(PATIENCE_S) == 2
    assert (work.runs, work.most) == (2, 1)


def test_work_when_nobody_asked_meanwhile_then_it_runs_once_a_call() -> None:
    work = Work()
    run = alone(work)
    for number in (1, 2):
        work.go.release()
        assert run() == number


def test_work_when_it_fails_then_it_can_be_asked_for_again() -> None:
    failing = [ValueError("no"), None]

    @alone
    def run() -> str:
        if error := failing.pop(0):
            raise error
        return "done"

    with pytest.raises(ValueError, match="no"):
        run()
    assert run() == "done"
