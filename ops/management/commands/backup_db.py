"""Takes a backup of the ledger and the prices, beside a platform that goes on working."""

import json
import sqlite3
import sys
from argparse import ArgumentParser
from typing import Any, Final

import msgspec
from django.core.management.base import BaseCommand

from ops.archive.shelf import Damaged
from ops.backup import copies, run, store
from ops.backup.manifest import Manifest
from ops.lock import AlreadyRunning
from ops.management.commands.archive import shown
from taptrading import clock

FOUND: Final = 1
COULD_NOT_RUN: Final = 2


class Command(BaseCommand):
    help = (
        "Copy the databases, store the copies and read them back. Exit code: 0 done, 1 what is "
        "stored is not what was written, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--list", action="store_true", help="show the backups there are")
        parser.add_argument("--dry-run", action="store_true", help="say what would be copied")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, **options: Any) -> None:
        as_json = options["json"]
        try:
            if options["list"]:
                self._list(as_json=as_json)
            elif options["dry_run"]:
                self._foretell(as_json=as_json)
            else:
                self._take(as_json=as_json)
        except (Damaged, ValueError) as error:
            self.stderr.write(f"not backed up: {error}")
            sys.exit(FOUND)
        except AlreadyRunning:
            self.stderr.write("could not run: another backup is being taken")
            sys.exit(COULD_NOT_RUN)
        except (run.NoRoom, copies.NotSqlite, sqlite3.Error, *store.ERRORS) as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)

    def _take(self, *, as_json: bool) -> None:
        with shown() as progress:
            taken = run.take(progress)
        if as_json:
            self.stdout.write(msgspec.json.encode(taken).decode())
        else:
            self.stdout.write(f"{as_line(taken)}, kept in {store.where()}")

    def _list(self, *, as_json: bool) -> None:
        found = [store.manifest(name) for name in store.names() if store.is_complete(name)]
        if as_json:
            self.stdout.write(msgspec.json.encode(found).decode())
            return
        for one in found:
            self.stdout.write(as_line(one))
        self.stdout.write(f"{len(found)} backups in {store.where()}")

    def _foretell(self, *, as_json: bool) -> None:
        planned = run.plan()
        told = {
            "databases": {name: str(path) for name, path in planned.databases.items()},
            "bytes_needed": planned.bytes_needed,
            "bytes_free": planned.bytes_free,
            "fits": planned.fits,
        }
        if as_json:
            self.stdout.write(json.dumps(told))
            return
        for name, path in planned.databases.items():
            self.stdout.write(f"would copy {path} ({copies.size_of(path)} bytes) as {name}")
        self.stdout.write(
            f"{'there is' if planned.fits else 'there is NO'} room: {planned.bytes_needed} bytes"
            f" needed, {planned.bytes_free} to spare; kept in {store.where()}"
        )


def as_line(one: Manifest) -> str:
    return (
        f"{one.name}: as of {clock.iso_ms(one.taken_us)}, {one.facts.get('seals')} seals,"
        f" {one.packed_bytes} bytes (unpacked {one.raw_bytes}), {one.took_s:.1f} s"
    )
