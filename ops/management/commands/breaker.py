"""The breaker by hand: what it says, and an operator's override of it."""

import getpass
import json
from argparse import ArgumentParser
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from pricefeed import overrides
from pricefeed.board import FEED_KEY, Board
from pricefeed.breaker import AUTO, FORCE_CLOSE, OVERRIDES
from taptrading import clock

_CLOSE_MINUTES = 15
_PATIENCE_S = 2.0


class Command(BaseCommand):
    help = (
        "Show the breaker, or override it: `open` refuses every bet, `close` skips the 30 s of "
        "recovery but never the age of the price, `auto` lifts the override."
    )

    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", default="status", choices=["status", *OVERRIDES])
        parser.add_argument("--reason", default="", help="why; needed for open and close")
        parser.add_argument(
            "--minutes",
            type=int,
            help=f"how long it lasts (close: {_CLOSE_MINUTES}; open: until lifted)",
        )
        parser.add_argument("--by", default="", help="who; default: this system user")

    def handle(self, *, action: str, reason: str, minutes: int | None, by: str, **_: Any) -> None:
        if action != "status":
            self._override(action, reason.strip(), minutes, by or getpass.getuser())
        self._show()

    def _override(self, action: str, reason: str, minutes: int | None, by: str) -> None:
        if action != AUTO and not reason:
            raise CommandError("say why: --reason")
        if minutes is not None and minutes <= 0:
            raise CommandError("--minutes is above zero")
        if action == FORCE_CLOSE and minutes is None:
            minutes = _CLOSE_MINUTES
        lasts_s = None if minutes is None else minutes * 60
        overrides.record(action, reason=reason, by=by, lasts_s=lasts_s)
        if not overrides.wake_feed():
            self.stderr.write("Redis is away: the feed sees the override within a second.")

    def _show(self) -> None:
        row = overrides.newest()
        newest = row and {
            "state": row.state,
            "by": row.by,
            "reason": row.reason,
            "created_at": row.created_at.isoformat(),
            "until": row.until.isoformat() if row.until else None,
        }
        self.stdout.write(
            json.dumps({"status": self._status(), "newest_override": newest}, indent=2)
        )

    def _status(self) -> dict[str, object] | str:
        board = Board()
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S
        )
        try:
            with client:
                payload = client.get(FEED_KEY)
        except (redis.RedisError, OSError) as error:
            return f"unknown: Redis is away ({error})"
        if isinstance(payload, bytes):
            board.receive(payload)
        return board.status_json(clock.now_us())
