"""Settles what is due, and decides decided columns again to see whether the books agree."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from bets import replay, settlement
from bets.replay import Replayed
from bets.tasks import settle_due_columns
from ops.progress import watched
from taptrading import clock
from taptrading.limits import LIMITS
from taptrading.rfc3339 import parse_us

DIFFERS: Final = 1
COULD_NOT_RUN: Final = 2
_DAY_US: Final = 86_400 * clock.US_PER_S


class Command(BaseCommand):
    help = (
        "Settle the columns that are due, as a worker does; then decide the columns of a span again"
        " from their stored evidence and recorded ticks, and compare decisions and bets. Safe to"
        " run at any time, as often as you like. Exit code: 0 the books agree, 1 they do not, or"
        " columns are still due, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="since", type=_instant_us, metavar="TIME",
            help="RFC 3339; default: a day ago",
        )  # fmt: skip
        parser.add_argument(
            "--to", dest="until", type=_instant_us, metavar="TIME", help="RFC 3339; default: now"
        )
        parser.add_argument(
            "--column", type=int, metavar="START", help="this column only (Unix seconds)"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="settle nothing: only look and compare"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        try:
            resolved = 0 if dry_run else settle_due_columns() or 0
            due = settlement.overdue(clock.now_us())
            columns = _columns(**options)
            told = [replay.replay(one) for one in watched(columns, "columns", len(columns))]
        except DatabaseError as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)
        text = _as_json if options["json"] else _as_text
        self.stdout.write(text(resolved, due, told))
        if due or any(one.differences for one in told):
            sys.exit(DIFFERS)


def _instant_us(text: str) -> int:
    found = parse_us(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time with an offset, like 2026-11-22T00:00:00Z")
    return found


def _columns(*, since: int | None, until: int | None, column: int | None, **_: Any) -> list[int]:
    if column is not None:
        return replay.decided(column, column + 1)
    until_us = clock.now_us() if until is None else until
    since_us = until_us - _DAY_US if since is None else since
    return replay.decided(since_us // clock.US_PER_S, until_us // clock.US_PER_S)


def _as_text(resolved: int, due: list[int], told: list[Replayed]) -> str:
    lines = [f"settled now: {resolved} bets"]
    for start in due:
        late_s = (clock.now_us() // clock.US_PER_S) - start - LIMITS.column_s
        lines.append(f"still due: column {start}, closed {late_s} s ago")
    differences = [one for replayed in told for one in replayed.differences]
    lines += [
        f"DIFFERS: column {one.column_start}, {one.what}: the books say {one.stored},"
        f" the replay {one.replayed}"
        for one in differences
    ]
    bets, ticks = sum(one.bets for one in told), sum(one.from_ticks for one in told)
    lines.append(
        f"replayed {len(told)} columns ({ticks} of them from their ticks too) with {bets} bets:"
        f" {len(differences)} differences"
    )
    return "\n".join(lines)


def _as_json(resolved: int, due: list[int], told: list[Replayed]) -> str:
    return json.dumps(
        {
            "settled_bets": resolved,
            "still_due": due,
            "columns": len(told),
            "from_ticks": sum(one.from_ticks for one in told),
            "bets": sum(one.bets for one in told),
            "differences": [one._asdict() for every in told for one in every.differences],
        }
    )
