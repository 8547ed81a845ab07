"""Fetches an archived segment, so that the history in it can be read again."""

import dataclasses
import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError

from ops.archive import run
from ops.archive.shelf import Damaged
from ops.lock import AlreadyRunning, FolderLock
from ops.management.commands.archive import STORE_ERRORS
from wallet import segments
from wallet.models import Segment

FOUND: Final = 1
COULD_NOT_RUN: Final = 2


class Command(BaseCommand):
    help = (
        "Fetch a segment, check it, and put it where history is read from. Exit code: 0 it can be "
        "read, 1 it is not what was stored or does not add up, 2 it could not be fetched."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the segment, as `archive` named it: 2026-W47")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, name: str, **options: Any) -> None:
        try:
            segment = Segment.objects.get(name=name)
            if segment.state not in (Segment.State.VERIFIED, Segment.State.PRUNED):
                raise Damaged(f"{name} is not archived yet: it is {segment.state}")
            with _alone(segment):
                checked = run.fetch_back(segment)
        except Segment.DoesNotExist:
            self._fail(f"could not run: no segment {name}", COULD_NOT_RUN)
        except Damaged as error:
            self._fail(f"not restored: {error}", FOUND)
        except AlreadyRunning:
            self._fail(f"could not run: {name} is being fetched already", COULD_NOT_RUN)
        except (DatabaseError, *STORE_ERRORS) as error:
            self._fail(f"could not run: {error}", COULD_NOT_RUN)
        path = segments.path_of(name)
        if options["json"]:
            told = {
                "name": name,
                "path": str(path),
                "bets": segment.bets,
                "entries": segment.entries,
                "clean": not checked.report.totals,
                "examples": [dataclasses.asdict(found) for found in checked.report.examples],
            }
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write(
                f"{name}: {segment.bets} bets and {segment.entries} entries add up, in {path}"
            )

    def _fail(self, why: str, code: int) -> NoReturn:
        self.stderr.write(why)
        sys.exit(code)


class _alone:
    """One at a time fetches a segment."""

    def __init__(self, segment: Segment) -> None:
        self._lock = FolderLock(Path(settings.RUN_DIR) / f"restore-{segment.name}.lock")

    def __enter__(self) -> None:
        self._lock.take()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
