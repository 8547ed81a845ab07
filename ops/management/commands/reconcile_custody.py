"""Compares what the custodian holds with what the ledger says, by its answer or its statement."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from ops.models import Reconciliation
from ops.reconciliation import Restless, as_line, reconcile
from taptrading import clock
from taptrading.money import parse_usdc
from wallet import custody

FOUND: Final = 1
COULD_NOT_RUN: Final = 2


class NobodyToAsk(Exception):
    """No custodian is connected: give its statement with --statement."""


class Command(BaseCommand):
    help = (
        "Compare the custodian's holdings with the ledger and put the verdict on record. Exit "
        "code: 0 they agree, 1 they do not, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--statement",
            type=_micros,
            metavar="USDC",
            help="what the custodian says it holds for us, instead of asking it: 1234.56",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, statement: int | None, **options: Any) -> None:
        try:
            holdings, source = _holdings(statement)
            made = reconcile(holdings, source)
        except (NobodyToAsk, Restless) as error:
            self._could_not(f"{error.__doc__} {error}".strip())
        except (DatabaseError, OSError) as error:
            self._could_not(str(error))
        else:
            told = json.dumps(_as_json(made)) if options["json"] else as_line(made)
            self.stdout.write(told)
            if made.mismatch_micros:
                sys.exit(FOUND)

    def _could_not(self, why: str) -> None:
        self.stderr.write(f"could not run: {why}")
        sys.exit(COULD_NOT_RUN)


def _holdings(statement: int | None) -> tuple[Callable[[], int], str]:
    if statement is not None:
        return lambda: statement, "statement"
    custodian = custody.custodian()
    if custodian is None:
        raise NobodyToAsk
    return custodian.holdings_micros, custodian.name


def _micros(text: str) -> int:
    try:
        return parse_usdc(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _as_json(made: Reconciliation) -> dict[str, Any]:
    names = ("source", "owed_micros", "under_way_micros", "held_micros", "mismatch_micros")
    return {
        "at": clock.iso_ms(clock.to_us(made.at)),
        **{name: getattr(made, name) for name in names},
        "agree": made.mismatch_micros == 0,
    }
