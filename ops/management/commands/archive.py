"""Moves old history out of the database, beside a platform that goes on working."""

import json
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand
from django.db import DatabaseError
from rich.console import Console
from rich.progress import Progress, TaskID

from ops.archive import cut, run, store
from ops.archive.cut import Cut, TooYoung
from ops.archive.shelf import Damaged
from ops.lock import AlreadyRunning
from taptrading import clock
from taptrading.rfc3339 import parse_us
from wallet.models import Segment

UNFINISHED: Final = 1
COULD_NOT_RUN: Final = 2
STORE_ERRORS: Final = (BotoCoreError, ClientError, OSError)
_SAY_EVERY_S: Final = 1.0


class Command(BaseCommand):
    help = (
        "Archive what is older than a week: copy it, store it, read it back, then remove it. Goes "
        "on where an earlier run ended. Exit code: 0 done, 1 not finished, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--until", type=_instant_us, metavar="TIME", help="RFC 3339; default: a week ago"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be archived")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, until: int | None, dry_run: bool, **options: Any) -> None:
        until_us = cut.default_until_us() if until is None else until
        try:
            if dry_run:
                self._foretell(until_us, as_json=options["json"])
            else:
                self._archive(until_us, as_json=options["json"])
        except (run.Unfinished, Damaged, *STORE_ERRORS) as error:
            self.stderr.write(f"not finished: {error}; the next run goes on from here")
            sys.exit(UNFINISHED)
        except TooYoung as error:
            self.stderr.write(f"could not run: {error.__doc__}")
            sys.exit(COULD_NOT_RUN)
        except AlreadyRunning:
            self.stderr.write("could not run: another run of the archive goes on")
            sys.exit(COULD_NOT_RUN)
        except DatabaseError as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)

    def _archive(self, until_us: int, *, as_json: bool) -> None:
        started = time.monotonic()
        with shown() as progress:
            finished = run.archive(until_us, progress)
        took_s = round(time.monotonic() - started, 1)
        if as_json:
            told = {"took_s": took_s, "segments": [_as_json(segment) for segment in finished]}
            self.stdout.write(json.dumps(told))
            return
        for segment in finished:
            self.stdout.write(_as_line(segment))
        self.stdout.write(f"{len(finished)} segments in {took_s} s, kept in {store.where()}")

    def _foretell(self, until_us: int, *, as_json: bool) -> None:
        left = run.unfinished()
        found = cut.find(until_us)
        if as_json:
            self.stdout.write(
                json.dumps(
                    {
                        "unfinished": None if left is None else left.name,
                        "next": None if found is None else _cut_as_json(found),
                    }
                )
            )
            return
        if left is not None:
            self.stdout.write(f"would finish {left}, which is {left.state}")
        if found is None:
            self.stdout.write("nothing more is old enough")
        else:
            self.stdout.write(
                f"would archive {found.entries} entries under seals {found.first_seal_id} to"
                f" {found.last_seal_id}, until {clock.iso_ms(found.cut_us)}, in {store.where()}"
            )


@contextmanager
def shown() -> Iterator[run.Progress]:
    """A bar on a terminal, else a line a second at most: on stderr."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}
        said: dict[tuple[str, str], float] = {}

        def progress(name: str, step: str, done: int, total: int) -> None:
            if not console.is_terminal:
                if time.monotonic() - said.get((name, step), 0.0) >= _SAY_EVERY_S:
                    said[name, step] = time.monotonic()
                    sys.stderr.write(f"{name} {step} {done}\n")
                return
            if (name, step) not in tasks:
                tasks[name, step] = bars.add_task(f"{name} {step}", total=total or None)
            bars.update(tasks[name, step], completed=done)

        yield progress


def _instant_us(text: str) -> int:
    found = parse_us(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time with an offset, like 2026-11-22T00:00:00Z")
    return found


def _as_line(segment: Segment) -> str:
    return (
        f"{segment.name}: {segment.bets} bets, {segment.entries} entries, until"
        f" {clock.iso_ms(clock.to_us(segment.cut_at))}, {segment.packed_bytes} bytes"
        f" (unpacked {segment.raw_bytes})"
    )


def _as_json(segment: Segment) -> dict[str, Any]:
    names = ("name", "state", "bets", "entries", "seals", "settlements", "raw_bytes")
    return {
        **{name: getattr(segment, name) for name in (*names, "packed_bytes", "packed_sha256")},
        "cut_at": clock.iso_ms(clock.to_us(segment.cut_at)),
    }


def _cut_as_json(found: Cut) -> dict[str, Any]:
    names = ("first_seal_id", "last_seal_id", "entries")
    return {
        **{name: getattr(found, name) for name in names},
        "until": clock.iso_ms(found.cut_us),
    }
