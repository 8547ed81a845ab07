"""Redis' copy of the balances, compared with the database and built anew."""

import json
import sys
from argparse import ArgumentParser
from typing import Any, Final

import redis
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError

from ops.balance_cache import Compared, NotTold, compare, rebuild

DIFFER: Final = 1
COULD_NOT_RUN: Final = 2


class Command(BaseCommand):
    help = (
        "Have the writer tell Redis all balances again. Nothing decides by them. Exit code: 0 they "
        "are the database's, 1 they are not, 2 Redis or the writer does not answer."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="compare, and change nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        try:
            with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5.0) as client:
                before = compare(client)
                found = before if dry_run else rebuild(client)
        except NotTold as error:
            self._could_not(str(error.__doc__))
        except (redis.RedisError, DatabaseError) as error:
            self._could_not(str(error))
        else:
            if options["json"]:
                told = {"rebuilt": not dry_run, "before": before._asdict(), **found._asdict()}
                self.stdout.write(json.dumps(told))
            else:
                self.stdout.write(_as_line(before, found, dry_run=dry_run))
            if not found.agree:
                sys.exit(DIFFER)

    def _could_not(self, why: str) -> None:
        self.stderr.write(f"could not run: {why}")
        sys.exit(COULD_NOT_RUN)


def _as_line(before: Compared, found: Compared, *, dry_run: bool) -> str:
    was = f"{before.missing} missing and {before.wrong} wrong"
    if dry_run:
        return f"{before.wallets} balances, {was} in Redis"
    now = "all are right" if found.agree else f"{found.missing} missing and {found.wrong} wrong"
    return f"{found.wallets} balances told again: {was} before, now {now}"
