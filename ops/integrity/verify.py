"""Runs the checks: in this process, or side by side in several.

Money moves on meanwhile. Each part looks at one snapshot of its own; what is compared across
parts (stretches of the append-only ledger, and the balances at the moment they were laid out) is
the same in all of them. What was archived is left out: the ledger begins at a checkpoint.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any, Final, NamedTuple

import django
from django.db import connection

from ops.integrity.checkpoint import balances_at, start
from ops.integrity.checks import CLAIMS, GROUPS, Questions
from ops.integrity.dialects import snapshot
from ops.integrity.findings import Report
from ops.integrity.stream import CHECKS, Bounds, Stretch, divide, join, read_stretch

_STRETCHES_A_JOB: Final = 4
_TRIES: Final = 3

Progress = Callable[[str], None]


class Layout(NamedTuple):
    """One moment of the ledger: its parts, the balances before the first and after the last."""

    bounds: list[Bounds]
    opening: dict[int, int]
    balances: list[tuple[int, int]]


_NO_LEDGER: Final = Layout([], {}, [])


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
    for _ in range(_TRIES):
        began = start(connection)
        report = _together(groups, parts, jobs, progress).only(wanted)
        if start(connection) == began:
            break
        # Rows that a part had still to read may have been archived since they were laid out.
    return report


def _alone(groups: list[str], parts: int, progress: Progress) -> Report:
    """Everything in one snapshot."""
    report = Report()
    with snapshot(connection):
        for name in groups:
            report.merge(_ask(name))
            progress(name)
        if parts:
            layout = _lay_out(parts)
            read = _read_all(layout.bounds, progress)
            report.merge(join(read, layout.balances, layout.opening))
    return report


def _read_all(bounds: list[Bounds], progress: Progress) -> Iterator[Stretch]:
    for number, part in enumerate(bounds, 1):
        yield read_stretch(connection, part)
        progress(_share(number, len(bounds)))


def _together(groups: list[str], parts: int, jobs: int, progress: Progress) -> Report:
    report = Report()
    with snapshot(connection):
        layout = _lay_out(parts) if parts else _NO_LEDGER
    stretches: dict[Bounds, Stretch] = {}
    # Not forked: a connection to SQLite does not survive that.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=django.setup) as pool:
        asked = {pool.submit(_ask_alone, name): name for name in groups}
        read = {pool.submit(_read_alone, part): part for part in layout.bounds}
        futures: list[Future[Any]] = [*asked, *read]
        for done in as_completed(futures):
            if done in asked:
                report.merge(done.result())
                progress(asked[done])
            else:
                stretches[read[done]] = done.result()
                progress(_share(len(stretches), len(layout.bounds)))
    if parts:
        in_order = (stretches[part] for part in layout.bounds)
        report.merge(join(in_order, layout.balances, layout.opening))
    return report


def _lay_out(parts: int) -> Layout:
    began = start(connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, balance_micros FROM wallet_wallet")
        balances = cursor.fetchall()
    opening = balances_at(connection, began.segment_id)
    return Layout(divide(connection, parts, began.seal_id), opening, balances)


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
