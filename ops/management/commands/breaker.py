"""The breaker by hand: what it says, and an operator's override of it."""

import contextlib
import getpass
import json
import time
from argparse import ArgumentParser
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from pricefeed import overrides
from pricefeed.board import FEED_KEY, Board, FeedState, decode
from pricefeed.breaker import AUTO, FORCE_CLOSE, FORCE_OPEN, OVERRIDES
from pricefeed.models import BreakerOverride
from taptrading.clock import US_PER_S, Clock, now_ms, now_us

_CLOSE_MINUTES = 15
_PATIENCE_S = 1.0
ANSWER_S = 1.5
_ASK_EVERY_S = 0.05


class Command(BaseCommand):
    help = (
        "Show the breaker, or override it: `open` refuses every bet, `close` skips the 30 s of "
        "recovery but never the age of the price, `auto` lifts the override."
    )

    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", default="status", choices=["status", *OVERRIDES])
        parser.add_argument(
            "--reason", default="", help="why, in public; needed for open and close"
        )
        parser.add_argument(
            "--minutes",
            type=int,
            help=f"how long it lasts (close: {_CLOSE_MINUTES}; open: until lifted)",
        )
        parser.add_argument("--by", default="", help="who; default: this system user")

    def handle(self, *, action: str, reason: str, minutes: int | None, by: str, **_: Any) -> None:
        if action == "status":
            self._show()
            return
        row = self._override(action, reason.strip(), minutes, by or getpass.getuser())
        self.stdout.write(_recorded(row))
        if overrides.wake_feed():
            self.stdout.write(_answer(row))
        else:
            self.stderr.write("Redis is away: the feed sees the override within a second.")

    def _override(self, action: str, reason: str, minutes: int | None, by: str) -> BreakerOverride:
        if action != AUTO and not reason:
            raise CommandError("say why: --reason")
        if minutes is not None and minutes <= 0:
            raise CommandError("--minutes is above zero")
        if action == FORCE_CLOSE and minutes is None:
            minutes = _CLOSE_MINUTES
        lasts_s = None if minutes is None else minutes * 60
        return overrides.record(action, reason=reason, by=by, lasts_s=lasts_s)

    def _show(self) -> None:
        row = overrides.newest()
        newest = row and {
            "state": row.state,
            "by": row.by,
            "reason": row.reason,
            "created_at": row.created_at.isoformat(),
            "until": row.until.isoformat() if row.until else None,
        }
        self.stdout.write(json.dumps({"status": _status(), "newest_override": newest}, indent=2))


def _recorded(row: BreakerOverride) -> str:
    if row.state == AUTO:
        return f"recorded: auto, by {row.by}"
    lasts = f"until {row.until:%H:%M:%S} UTC" if row.until else "until lifted"
    return f"recorded: {row.state} {lasts}, by {row.by}: {row.reason}"


def _answer(row: BreakerOverride) -> str:
    """What the feed says once it follows this override; it is told, and given a moment."""
    clock = Clock()  # operators wait in real time
    give_up_us = clock.monotonic_us() + int(ANSWER_S * US_PER_S)
    while not _follows(state := _heard(), row):
        if clock.monotonic_us() > give_up_us:
            return "the feed has not answered: `manage.py breaker` shows what it says later"
        time.sleep(_ASK_EVERY_S)
    assert state is not None
    why = state.reason and f" ({state.reason})"
    return f"the feed says: breaker {state.breaker}, override {state.override}{why}"


def _follows(state: FeedState | None, row: BreakerOverride) -> bool:
    """A breaker that is forced open tells the override's reason; another may have a nearer one."""
    if state is None or state.override != row.state or _is_dead(state):
        return False
    return row.state != FORCE_OPEN or state.reason == row.reason


def _is_dead(state: FeedState) -> bool:
    """A feed that lives would have told that its price is old."""
    return _board(state).breaker(now_ms()) != state.breaker


def _status() -> dict[str, object] | str:
    """The contract's status; a sentence if it cannot be known."""
    try:
        return _board(_read()).status_json(now_us())
    except (redis.RedisError, OSError) as error:
        return f"unknown: Redis is away ({error})"


def _board(state: FeedState | None) -> Board:
    board = Board()
    if state is not None:
        board.apply(state)
    return board


def _heard() -> FeedState | None:
    with contextlib.suppress(redis.RedisError, OSError):
        return _read()
    return None


def _read() -> FeedState | None:
    """What the feed published last. Raises RedisError, OSError."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S
    )
    with client:
        payload = client.get(FEED_KEY)
    return decode(payload) if isinstance(payload, bytes) else None
