"""Looks at an installation and says what to do. Changes nothing."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ops.doctor import examine, ground, platform, report, worst


class Command(BaseCommand):
    help = (
        "Check machine, settings, database, Redis, the running parts and backups, and say what to "
        "do. Exit code: 0 well, 1 something to see to, 2 something does not work."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, **options: Any) -> None:
        found = examine((*ground.CHECKS, *platform.CHECKS))
        self.stdout.write(report.as_json(found) if options["json"] else report.as_text(found))
        sys.exit(report.EXIT[worst(found)])
