"""Moves the operator's money that the custodian holds into the house wallet, once a reference."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from taptrading import audit
from taptrading.audit import Note
from taptrading.errors import DependencyError, Refusal
from taptrading.money import MAX_INT, format_usdc, parse_usdc
from wallet import custody, link, transfers
from wallet.models import LedgerEntry, Wallet

REFUSED: Final = 1
COULD_NOT_RUN: Final = 2
_RIGHTS: Final = {"by": "ops.propose_money", "also_by": "ops.approve_money"}


class Command(BaseCommand):
    help = (
        "Fund the house wallet with money that the custodian already holds for the operator. Two"
        " people of the staff want it. The reference (of the bank transfer, say) makes it happen"
        " once, however often it is asked for. Exit code: 0 done, 1 refused, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("amount", type=_amount, help="in USDC, like 250000 or 0.50")
        parser.add_argument("--reference", required=True, help="what it is known by, once")
        parser.add_argument("--by", required=True, help="one of the staff who may propose it")
        parser.add_argument("--also-by", required=True, help="another one who may approve it")
        parser.add_argument("--reason", required=True, help="why, for the audit log")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, amount: int, reference: str, dry_run: bool, **options: Any) -> None:
        _check_people(options["by"], options["also_by"])
        try:
            before = _house_micros()
            done = LedgerEntry.objects.filter(kind="FUNDING", reference=reference).exists()
            if dry_run or done:
                told = {"outcome": "was done before" if done else "would be done", "before": before}
            else:
                told = {**_fund(amount, reference, options), "before": before}
        except (DependencyError, DatabaseError) as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)
        told |= {"amount": amount, "after": _house_micros()}
        self.stdout.write(_as_json(told) if options["json"] else _as_text(told))
        if told["outcome"] == "refused":
            sys.exit(REFUSED)


def _amount(text: str) -> int:
    try:
        micros = parse_usdc(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    if not 0 < micros <= MAX_INT:
        raise ArgumentTypeError("an amount above zero")
    return micros


def _check_people(by: str, also_by: str) -> None:
    """Raises CommandError unless two different people of the staff may do this together."""
    if by == also_by:
        raise CommandError("it takes two people: --by and --also-by are the same")
    for option, name in (("by", by), ("also_by", also_by)):
        user = User.objects.filter(username=name, is_active=True, is_staff=True).first()
        if user is None:
            raise CommandError(f"{name} is not one of the staff")
        if not user.has_perm(_RIGHTS[option]):
            raise CommandError(f"{name} may not do this: it takes {_RIGHTS[option]}")


def _house_micros() -> int:
    house = Wallet.objects.filter(kind=Wallet.Kind.HOUSE).order_by("id").first()
    return 0 if house is None else house.balance_micros


def _fund(amount_micros: int, reference: str, options: dict[str, Any]) -> dict[str, Any]:
    """Noted first: what cannot be remembered is not done."""
    people = f"{options['by']}, {options['also_by']}"
    after = {"amount_micros": amount_micros, "reference": reference}
    audit.record(Note("house.fund", "house", after=after, reason=options["reason"], actor=people))
    outcome = link.call(transfers.FundHouse(amount_micros, reference))
    if isinstance(outcome, Refusal):
        return {"outcome": "refused", "why": outcome.sentence}
    if settings.DEMO:  # its custodian is told by nobody else
        custody.local.fund(reference, amount_micros)
    return {"outcome": "done"}


def _as_text(told: dict[str, Any]) -> str:
    why = f" ({told['why']})" if "why" in told else ""
    return (
        f"{told['outcome']}{why}: {format_usdc(told['amount'])} USDC; the house had"
        f" {format_usdc(told['before'])} and has {format_usdc(told['after'])}"
    )


def _as_json(told: dict[str, Any]) -> str:
    micros = {f"{name}_micros": told[name] for name in ("amount", "before", "after")}
    return json.dumps({"outcome": told["outcome"], "why": told.get("why", ""), **micros})
