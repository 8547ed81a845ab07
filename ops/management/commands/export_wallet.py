"""Gives a person all that the platform keeps about their wallet."""

import getpass
import json
import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from ops import exporting
from ops.progress import shown
from taptrading import audit
from taptrading.audit import Note
from taptrading.errors import ApiError
from wallet.models import Wallet

COME_AGAIN: Final = 1
COULD_NOT_RUN: Final = 2


class Command(BaseCommand):
    help = (
        "Write a wallet's own data (ledger, bets, deposits, withdrawals, keys, sessions, what was"
        " done about it) to a new file of JSON that only you can read. Exit code: 0 written,"
        " 1 history is being fetched: run it again, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", help="the wallet's address, 0x…")
        parser.add_argument("file", type=Path, help="must not be there yet")
        parser.add_argument("--reason", default="", help="why, for the audit log")
        parser.add_argument("--by", default="", help="who; default: this system user")
        parser.add_argument("--json", action="store_true", help="the counts as JSON on stdout")

    def handle(self, *, address: str, file: Path, **options: Any) -> None:
        try:
            wallet = Wallet.objects.filter(address=address.lower()).first()
            if wallet is None:
                self._give_up(f"no wallet {address}")
            else:
                self._export(wallet, file, **options)
        except ApiError as refused:
            file.unlink(missing_ok=True)
            self.stderr.write(f"not finished: {refused}")
            sys.exit(COME_AGAIN)
        except DatabaseError as error:
            file.unlink(missing_ok=True)
            self._give_up(str(error))

    def _export(
        self, wallet: Wallet, file: Path, *, by: str, reason: str, json: bool, **_: Any
    ) -> None:
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self._give_up(f"{file}: {error.strerror}")
        with os.fdopen(descriptor, "w", encoding="utf-8") as target, shown("rows") as advance:
            counts = exporting.write(wallet, target, lambda _, done: advance(done))
        # Once there is something to take away: what is in it is not said.
        who = by or getpass.getuser()
        audit.record(Note("wallet.export", f"wallet:{wallet.pk}", reason=reason, actor=who))
        self.stdout.write(_told(counts, file, as_json=json))

    def _give_up(self, why: str) -> None:
        self.stderr.write(f"could not run: {why}")
        sys.exit(COULD_NOT_RUN)


def _told(counts: dict[str, int], file: Path, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": str(file), **counts})
    return f"{file}: " + ", ".join(f"{count} {name}" for name, count in counts.items())
