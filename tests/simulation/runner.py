"""Many seeds side by side: `python -m tests.simulation --seeds 10000`, or one again: `--seed 7`.

Exits 1 when an invariant broke, having said with which seed, where, and how to see it again.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED as FIRST
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Final

import django

from tests.servers import _die_with_parent
from tests.simulation.outcome import Outcome

_AT_ONCE: Final = 10  # seeds a job
_SHOWN_MAX: Final = 5  # violations shown in full
_TRACE_LINES: Final = 40
_PROGRESS_S: Final = 5.0


def _set_up() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taptrading.settings")
    django.setup()


def _begin_job() -> None:
    _die_with_parent()
    _set_up()


def _run(seeds: range, length_s: int) -> list[Outcome]:
    from tests.simulation.history import run

    return [run(seed, length_s) for seed in seeds]


class Tally:
    """What has come out so far."""

    def __init__(self, seeds: int, length_s: int) -> None:
        self._seeds = seeds
        self._length_s = length_s
        self._started = time.monotonic()
        self._shown_at = 0.0
        self.done = 0
        self.steps = 0
        self.cpu_s = 0.0
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.violated: list[int] = []

    def add(self, outcome: Outcome) -> None:
        self.done += 1
        self.steps += outcome.steps
        self.cpu_s += outcome.seconds
        self.faults += outcome.faults
        self.counts += outcome.counts
        if outcome.violation:
            self.violated.append(outcome.seed)
            if len(self.violated) <= _SHOWN_MAX:
                show(outcome, self._length_s)

    def progress(self, *, now: bool = False) -> None:
        at = time.monotonic()
        if now or at - self._shown_at >= _PROGRESS_S:
            self._shown_at = at
            took = at - self._started
            print(
                f"{self.done} of {self._seeds} seeds, {self.steps} steps"
                f" ({self.steps / max(took, 0.001):.0f}/s), {took:.0f} s,"
                f" {len(self.violated)} violations",
                flush=True,
            )

    def summary(self) -> None:
        self.progress(now=True)
        print(f"CPU: {self.cpu_s:.0f} s, {self.steps / max(self.cpu_s, 0.001):.0f} steps/s a core")
        for title, counter in (("faults injected", self.faults), ("what became", self.counts)):
            print(f"{title}: {sum(counter.values())}")
            for name, count in counter.most_common():
                print(f"  {count:>9} {name}")
        if self.violated:
            print(f"VIOLATED by seeds {' '.join(map(str, sorted(self.violated)))}")


def show(outcome: Outcome, length_s: int) -> None:
    print(f"\nseed {outcome.seed}, step {outcome.steps}: {outcome.violation}")
    print("\n".join(outcome.trace[-_TRACE_LINES:]))
    print(f"again: make simulate SEED={outcome.seed} SECONDS={length_s}\n", flush=True)


def run_many(first: int, seeds: int, length_s: int, jobs: int) -> Tally:
    tally = Tally(seeds, length_s)
    todo = _chunks(first, seeds)
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_begin_job) as pool:
        running: set[Future[list[Outcome]]] = set()
        while True:
            # No more than will soon be begun, so that an interrupted run ends soon.
            while len(running) < 2 * jobs and (chunk := next(todo, None)) is not None:
                running.add(pool.submit(_run, chunk, length_s))
            if not running:
                return tally
            done, running = wait(running, return_when=FIRST)
            for future in done:
                for outcome in future.result():
                    tally.add(outcome)
            tally.progress()


def _chunks(first: int, seeds: int) -> Iterator[range]:
    end = first + seeds
    return (range(at, min(at + _AT_ONCE, end)) for at in range(first, end, _AT_ONCE))


def run_one(seed: int, length_s: int, trace: bool) -> bool:
    _set_up()
    from tests.simulation.history import History

    history = History(seed, length_s)
    if trace:
        history.world.heard = print
    outcome = history.run()
    if outcome.violation:
        show(outcome, length_s)
    print(
        f"seed {seed}: {outcome.steps} steps, {outcome.seconds:.2f} s, digest {outcome.digest},"
        f" {'VIOLATED' if outcome.violation else 'nothing found'}"
    )
    return not outcome.violation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every step")
    parser.add_argument("--seconds", type=int, default=8, help="simulated, under faults")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    if options.seed is not None:
        return 0 if run_one(options.seed, options.seconds, options.trace) else 1
    tally = run_many(options.first, options.seeds, options.seconds, options.jobs)
    tally.summary()
    return 1 if tally.violated else 0
