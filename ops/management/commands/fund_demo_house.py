"""Gives the house of a demo the play money it pays winners from; once, however often it runs."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from taptrading.errors import Refusal
from wallet import custody, link, transfers


class Command(BaseCommand):
    help = "Fund the demo's house wallet (play money; refused outside demo mode)."
    requires_system_checks = []

    def handle(self, **_: Any) -> None:
        if not settings.DEMO:
            raise CommandError("play money is for demo mode only")
        outcome = link.call(transfers.FundHouse(settings.DEMO_HOUSE_MICROS, "demo"))
        if isinstance(outcome, Refusal):
            raise CommandError(outcome.sentence)
        custody.local.fund("demo", settings.DEMO_HOUSE_MICROS)
        self.stdout.write("the house has its play money")
