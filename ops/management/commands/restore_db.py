"""Brings a backup back: for trial, into a folder, or in the place of the platform's databases."""

import json
import sqlite3
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final, NoReturn

from django.core.management.base import BaseCommand
from django.db import connections

from ops.archive.shelf import Damaged
from ops.backup import copies, restore, store
from ops.backup.drill import drill
from ops.backup.restore import Restored
from ops.backup.run import NoRoom
from ops.management.commands.archive import shown

FOUND: Final = 1
COULD_NOT_RUN: Final = 2
_NEWEST: Final = "newest"


class Command(BaseCommand):
    help = (
        "Restore a backup and check its ledger. One of --drill, --into FOLDER, --in-place. Exit "
        "code: 0 restored and clean, 1 it is damaged or does not add up, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "name", nargs="?", default=_NEWEST, help="as `backup_db --list` shows it; or newest"
        )
        how = parser.add_mutually_exclusive_group(required=True)
        how.add_argument(
            "--drill", action="store_true", help="for trial: restored, checked, timed, removed"
        )
        how.add_argument("--into", type=Path, metavar="FOLDER", help="an empty folder")
        how.add_argument(
            "--in-place",
            action="store_true",
            help="instead of the databases of a platform that stands still; those are kept",
        )
        how.add_argument(
            "--dry-run", action="store_true", help="say which backup it would be and what it holds"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, name: str, **options: Any) -> None:
        try:
            self._restore(name, options)
        except (Damaged, restore.Unusable, ValueError, sqlite3.DatabaseError) as error:
            self._fail(f"not restored: {error}", FOUND)
        except (
            *(store.NoBackup, restore.Occupied, restore.InUse, NoRoom, copies.NotSqlite),
            *store.ERRORS,
        ) as error:
            self._fail(f"could not run: {error}", COULD_NOT_RUN)

    def _restore(self, name: str, options: dict[str, Any]) -> None:
        if options["drill"]:
            with shown() as progress:
                report = drill(None if name == _NEWEST else name, None, progress)
            self._tell(report, _as_drill(report), as_json=options["json"])
            return
        chosen = store.newest() if name == _NEWEST else name
        if options["dry_run"]:
            manifest = store.manifest(chosen)
            told = {"backup": chosen, "bytes": manifest.raw_bytes, **manifest.facts}
            self.stdout.write(json.dumps(told))
            return
        connections.close_all()
        with shown() as progress:
            if options["into"]:
                restored, where = restore.into(chosen, options["into"], progress), options["into"]
                text = f"in {where}"
            else:
                restored, where = restore.in_place(chosen, progress)
                text = f"in place; what was there is kept in {where}"
        self._tell(_as_json(restored, where), _as_line(restored, text), as_json=options["json"])

    def _tell(self, report: dict[str, Any], text: str, *, as_json: bool) -> None:
        self.stdout.write(json.dumps(report) if as_json else text)
        if not report["clean"]:
            sys.exit(FOUND)

    def _fail(self, why: str, code: int) -> NoReturn:
        self.stderr.write(why)
        sys.exit(code)


def _as_line(restored: Restored, text: str) -> str:
    name = restored.manifest.name
    if not restored.clean:
        return f"{name} does NOT add up: {restored.findings}; it is in {restored.folder}"
    return (
        f"{name} adds up: {text} (fetched in {restored.fetched_s:.1f} s, checked in"
        f" {restored.checked_s:.1f} s)"
    )


def _as_json(restored: Restored, where: Path) -> dict[str, Any]:
    return {
        "backup": restored.manifest.name,
        "clean": restored.clean,
        "findings": restored.findings,
        "where": str(where),
        "fetched_s": round(restored.fetched_s, 3),
        "checked_s": round(restored.checked_s, 3),
    }


def _as_drill(report: dict[str, Any]) -> str:
    verdict = "adds up" if report["clean"] else f"does NOT add up: {report['findings']}"
    lost = report["seals_since"]
    since = "what is newer cannot be told" if lost is None else f"{lost} seals are newer"
    return (
        f"{report['backup']} {verdict}\n"
        f"RTO {report['rto_s']:.1f} s: fetched in {report['fetched_s']:.1f} s, checked in"
        f" {report['checked_s']:.1f} s\n"
        f"RPO {report['rpo_s']:.1f} s: so old is it, and {since}"
    )
