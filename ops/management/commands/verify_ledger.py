"""Checks everything that money touches, beside a platform that goes on working."""

import dataclasses
import json
import os
import sys
import time
from argparse import ArgumentParser
from concurrent.futures import BrokenExecutor
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from ops.integrity import CLAIMS, Report, verify
from ops.integrity.explain import Explanation, Line, UnknownWallet, explain
from taptrading import clock
from taptrading.money import format_usdc as usdc

FOUND: Final = 1
COULD_NOT_RUN: Final = 2
_JOBS: Final = 2


class Command(BaseCommand):
    help = (
        "Check the ledger, bets and balances. Exit code: 0 nothing found, 1 something found, "
        "2 the checks could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="append",
            choices=list(CLAIMS),
            help="this check only; may be given more than once",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
        parser.add_argument(
            "--explain",
            metavar="WALLET",
            help="an address or id: where this wallet's money came from and went, nothing else",
        )
        parser.add_argument(
            "--jobs",
            type=int,
            choices=range(1, 65),
            metavar="N",
            default=min(_JOBS, len(os.sched_getaffinity(0))),
            help="processes that share the work (default: %(default)s)",
        )

    def handle(self, *, check: list[str] | None, jobs: int, **options: Any) -> None:
        if options["explain"]:
            self._explain(options["explain"], as_json=options["json"])
            return
        checks = check or list(CLAIMS)
        started = time.monotonic()

        def progress(what: str) -> None:
            self.stderr.write(f"{time.monotonic() - started:7.1f} s  {what}")

        try:
            report = verify(checks, jobs, progress)
        except (DatabaseError, OSError, BrokenExecutor) as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)
        took_s = round(time.monotonic() - started, 3)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(checks, report, took_s)))
        else:
            self.stdout.write(_as_text(checks, report))
        if report.totals:
            sys.exit(FOUND)

    def _explain(self, which: str, *, as_json: bool) -> None:
        try:
            found = explain(which)
        except UnknownWallet:
            self.stderr.write(f"could not run: no wallet {which}")
            sys.exit(COULD_NOT_RUN)
        except DatabaseError as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)
        self.stdout.write(json.dumps(found.json()) if as_json else _as_story(found))
        if not found.adds_up:
            sys.exit(FOUND)


def _as_story(found: Explanation) -> str:
    wallet = found.wallet
    name = wallet["address"] or wallet["kind"].upper()
    verdict = "adds up" if found.adds_up else "DOES NOT ADD UP"
    archived = (
        [f"archived until {found.archived_until}, which left {usdc(found.opening_micros)}"]
        if found.archived_until
        else []
    )
    lines = [
        f"{name} (wallet {wallet['id']}): {verdict}",
        *archived,
        f"balance {usdc(wallet['balance_micros'])}, its {found.entries} entries leave"
        f" {usdc(found.sum_micros)}; held {usdc(wallet['held_micros'])},"
        f" staked {usdc(wallet['open_stake_micros'])}",
        "",
        f"{'kind':<12}{'entries':>10}{'in':>22}{'out':>22}",
    ]
    lines += [
        f"{kind:<12}{found.by_kind[kind].entries:>10}{usdc(found.by_kind[kind].in_micros):>22}"
        f"{usdc(found.by_kind[kind].out_micros):>22}"
        for kind in sorted(found.by_kind)
    ]
    if found.breaks:
        lines += ["", f"{found.breaks} lines do not start where the one before ended, the first:"]
        lines += [
            f"{_as_line(broken.line)}, expected {usdc(broken.expected_after_micros)}"
            for broken in found.first_breaks
        ]
    lines += ["", f"the newest {len(found.newest)}:", *map(_as_line, found.newest)]
    return "\n".join(lines)


def _as_line(line: Line) -> str:
    return (
        f"{clock.iso_ms(line.created_at)}  {line.entry_id}  {line.kind:<10}"
        f" {line.reference:<28}{usdc(line.amount_micros):>20}  -> {usdc(line.balance_after_micros)}"
    )


def _as_text(checks: list[str], report: Report) -> str:
    lines = []
    for check in checks:
        total = report.totals.get(check, 0)
        lines.append(f"{'ok' if not total else f'{total} WRONG':<12}{check}: {CLAIMS[check]}")
        lines += [f"{'':<12}{found}" for found in report.examples if found.check == check]
    return "\n".join(lines)


def _as_json(checks: list[str], report: Report, took_s: float) -> dict[str, Any]:
    return {
        "clean": not report.totals,
        "took_s": took_s,
        "checks": {check: report.totals.get(check, 0) for check in checks},
        "examples": [dataclasses.asdict(found) for found in report.examples],
    }
