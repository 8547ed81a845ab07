"""`manage.py play`: watch a trader play whole rounds, here or against another host."""

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from ops.play.options import Options, PlayError
from ops.play.screen import make_screen
from ops.play.trader import Result, Trader, summary
from taptrading.client import Client, ClientError
from taptrading.client.transport import Patience
from taptrading.money import parse_usdc

# Exit codes: something does not hold, or the game or the connection broke off before its end.
_BROKEN, _BROKEN_OFF = 1, 2


class Command(BaseCommand):
    help = "Play rounds as a trader with a wallet of its own, and prove that its ledger adds up."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="the platform")
        parser.add_argument("--rounds", type=int, default=20, help="confirmed bets to play")
        parser.add_argument("--seed", default="", help="the same seed, the same wallet and taste")
        parser.add_argument("--deposit", default="1000", help="USDC")
        parser.add_argument("--stake", default="5", help="USDC, one of the presets")
        parser.add_argument(
            "--patience", type=float, default=180.0, help="seconds to wait when nothing happens"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console()
        chosen = _options(options)
        try:
            with (
                Client(options["url"], patience=Patience(attempts=6, total_s=8.0)) as client,
                make_screen(console) as screen,
            ):
                result = Trader(client, chosen, screen).visit()
        except (ClientError, PlayError) as error:
            raise CommandError(str(error), returncode=_BROKEN_OFF) from None
        except KeyboardInterrupt:
            raise CommandError("stopped", returncode=130) from None
        _report(console, result)


def _options(options: dict[str, Any]) -> Options:
    try:
        chosen = Options(
            rounds=options["rounds"],
            deposit_micros=parse_usdc(options["deposit"]),
            stake_micros=parse_usdc(options["stake"]),
            seed=options["seed"] or secrets.token_hex(8),
            patience_s=options["patience"],
        )
    except ValueError as error:
        raise CommandError(str(error)) from None
    if chosen.rounds < 1:
        raise CommandError("--rounds must be 1 or more")
    if chosen.deposit_micros < chosen.stake_micros * chosen.rounds:
        raise CommandError("the deposit must cover the stakes of all rounds")
    return chosen


def _report(console: Console, result: Result) -> None:
    lines = ["", *summary(result.journal), "", *map(str, result.checks)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if not result.holds:
        raise CommandError("the ledger does NOT add up", returncode=_BROKEN)
    console.print("the ledger adds up", style="bold green")
