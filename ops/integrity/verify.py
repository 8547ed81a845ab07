"""Runs the checks: in this process, or side by side in several.

Money moves on meanwhile. Each part looks at one snapshot of its own; what is compared across
parts (stretches of the append-only ledger, and the balances at the moment they were laid out) is
the same in all of them.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any, Final

import django
from django.db import connection

from ops.integrity.checks import CLAIMS, GROUPS, Questions
from ops.integrity.dialects import snapshot
from ops.integrity.findings import Report
from ops.integrity.stream import CHECKS, Bounds, Stretch, divide, join, read_stretch

_STRETCHES_A_JOB: Final = 4

Progress = Callable[[str], None]


def verify(
    checks: Iterable[str] = CLAIMS, jobs: int = 1, progress: Progress = lambda _: None
) -> Report:
    """The findings of these checks. With more than one job, processes share the work, each with
    a connection of its own; the database must be one that they can open."""
    wanted = frozenset(checks)
    groups = [name for name, group in GROUPS.items() if wanted.intersection(group.checks)]
    parts = jobs * _STRETCHES_A_JOB if wanted.intersection(CHECKS) else 0
    if jobs == 1:
        return _alone(groups, parts, progress).only(wanted)
    return _together(groups, parts, jobs, progress).only(wanted)


def _alone(groups: list[str], parts: int, progress: Progress) -> Report:
    """Everything in one snapshot."""
    report = Report()
    with snapshot(connection):
        for name in groups:
            report.merge(_ask(name))
            progress(name)
        if parts:
            bounds, balances = _lay_out(parts)
            report.merge(join(_read_all(bounds, progress), balances))
    return report


def _read_all(bounds: list[Bounds], progress: Progress) -> Iterator[Stretch]:
    for number, part in enumerate(bounds, 1):
        yield read_stretch(connection, part)
        progress(_share(number, len(bounds)))


def _together(groups: list[str], parts: int, jobs: int, progress: Progress) -> Report:
    report = Report()
    with snapshot(connection):
        bounds, balances = _lay_out(parts) if parts else ([], [])
    stretches: dict[Bounds, Stretch] = {}
    # Not forked: a connection to SQLite does not survive that.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=django.setup) as pool:
        asked = {pool.submit(_ask_alone, name): name for name in groups}
        read = {pool.submit(_read_alone, part): part for part in bounds}
        futures: list[Future[Any]] = [*asked, *read]
        for done in as_completed(futures):
            if done in asked:
                report.merge(done.result())
                progress(asked[done])
            else:
                stretches[read[done]] = done.result()
                progress(_share(len(stretches), len(bounds)))
    if parts:
        report.merge(join((stretches[part] for part in bounds), balances))
    return report


def _lay_out(parts: int) -> tuple[list[Bounds], list[tuple[int, int]]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, balance_micros FROM wallet_wallet")
        balances = cursor.fetchall()
    return divide(connection, parts), balances


def _ask(group: str) -> Report:
    questions = Questions(connection)
    GROUPS[group].ask(questions)
    return questions.report


def _ask_alone(group: str) -> Report:
    with snapshot(connection):
        return _ask(group)


def _read_alone(bounds: Bounds) -> Stretch:
    with snapshot(connection):
        return read_stretch(connection, bounds)


def _share(done: int, parts: int) -> str:
    return f"ledger, {100 * done // parts} %"
