"""For whoever has lost both their app and their recovery codes: they start anew."""

import getpass
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from ops.staff import devices


class Command(BaseCommand):
    help = (
        "Take away somebody's second factor. They set up another one as they next sign in, with"
        " their password. First make sure, not by mail or chat alone, that it is them."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log")
        parser.add_argument("--by", default="", help="who; default: this system user")

    def handle(self, *, username: str, reason: str, by: str, **_: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"nobody is called {username}")
        gone = devices.reset(user, reason=reason, by=by or getpass.getuser())
        self.stdout.write(
            f"{username} had {gone} devices and has none now"
            if gone
            else f"{username} had no second factor"
        )
