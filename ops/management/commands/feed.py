"""The price feed by hand: how it is, which venues it listens to, and how to stop it so that no
bet suffers."""

import getpass
import json
import sys
import time
from argparse import ArgumentParser
from typing import Any, Final

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from bets.models import Bet
from ops.progress import shown
from pricefeed import choices, overrides
from pricefeed.board import FEED_KEY, SOURCES_KEY, Board, SourceState, decode, decode_sources
from pricefeed.breaker import FORCE_OPEN
from taptrading.clock import now_us
from taptrading.limits import LIMITS

NOT_WELL: Final = 1
COULD_NOT_RUN: Final = 2
LOOK_EVERY_S: Final = 0.5
_PATIENCE_S: Final = 1.0


class Command(BaseCommand):
    help = (
        "status: the index, the breaker, and every source. switch: listen to these venues from now"
        " on, `configured` for those of PRICE_SOURCES. drain: refuse new bets and wait until every"
        " open one is resolved, so that the feed may be stopped. Exit code: 0 well or done, 1 the"
        " index is stale or bets are still open, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "action", nargs="?", default="status", choices=["status", "switch", "drain"]
        )
        parser.add_argument("venues", nargs="?", default="", help="like coinbase,kraken")
        parser.add_argument(
            "--reason", default="", help="why; for switch and drain (there: public)"
        )
        parser.add_argument("--by", default="", help="who; default: this system user")
        parser.add_argument(
            "--wait-s", type=int, default=180, help="how long drain waits (default: %(default)s)"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, action: str, **options: Any) -> None:
        try:
            told, well = {"status": _status, "switch": _switch, "drain": _drain}[action](options)
        except (redis.RedisError, DatabaseError, OSError) as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)
        self.stdout.write(json.dumps(told) if options["json"] else _as_text(told))
        if not well:
            sys.exit(NOT_WELL)


Told = tuple[dict[str, Any], bool]


def _status(_: dict[str, Any]) -> Told:
    """Raises RedisError, OSError, DatabaseError."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S
    )
    with client:
        state, sources = client.get(FEED_KEY), client.get(SOURCES_KEY)
    board = Board()
    if isinstance(state, bytes):
        board.apply(decode(state))
    known = decode_sources(sources) if isinstance(sources, bytes) else []
    chosen = choices.newest()
    told = {
        **board.status_json(now_us()),
        "price_cents": board.tick and board.tick.price_cents,
        "made_of": board.tick.sources.split(",") if board.tick else [],
        "sources": [_source(one) for one in known],
        "configured": settings.PRICE_SOURCES,
        "chosen": chosen.sources.split(",") if chosen and chosen.sources else None,
        "open_bets": Bet.objects.open().count(),
    }
    age_ms = told["price_age_ms"]
    return told, isinstance(age_ms, int) and age_ms <= LIMITS.quote_age_ms


def _source(one: SourceState) -> dict[str, Any]:
    live = one.age_ms is not None and one.age_ms <= LIMITS.source_stale_ms
    return {"name": one.name, "live": live, "age_ms": one.age_ms, "price_cents": one.price_cents}


def _switch(options: dict[str, Any]) -> Told:
    names = options["venues"].split(",") if options["venues"] else []
    if not names:
        raise CommandError("to which venues? Like: feed switch coinbase,kraken --reason ...")
    if not options["reason"]:
        raise CommandError("say why: --reason")
    wanted = [] if names == ["configured"] else names
    before = list(choices.current())
    try:
        if options["dry_run"]:
            choices.check(wanted)
        else:
            choices.record(wanted, reason=options["reason"], by=_who(options))
            overrides.wake_feed()
    except choices.NotPossible as error:
        raise CommandError(str(error)) from None
    after = wanted or list(settings.PRICE_SOURCES)
    return {"done": not options["dry_run"], "before": before, "after": after}, True


def _drain(options: dict[str, Any]) -> Told:
    """An open breaker lets nobody in, and ticks go on, which price and resolve those inside."""
    if options["dry_run"]:
        return {"done": False, "open_bets": Bet.objects.open().count()}, True
    reason = options["reason"] or "maintenance"
    overrides.record(FORCE_OPEN, reason=reason, by=_who(options))
    overrides.wake_feed()
    first = left = Bet.objects.open().count()
    give_up_s = time.monotonic() + options["wait_s"]
    with shown("bets resolved") as advance:
        time.sleep(LOOK_EVERY_S)  # bets that were under way when the breaker opened
        while (left := Bet.objects.open().count()) and time.monotonic() < give_up_s:
            first = max(first, left)
            advance(first - left, first)
            time.sleep(LOOK_EVERY_S)
    return {"done": left == 0, "open_bets": left}, left == 0


def _who(options: dict[str, Any]) -> str:
    return options["by"] or getpass.getuser()


def _as_text(told: dict[str, Any]) -> str:
    if "before" in told:
        verb = "listens" if told["done"] else "would listen"
        return f"{verb} to {', '.join(told['after'])}; before: {', '.join(told['before'])}"
    if "done" in told:
        if told["done"]:
            return "drained: no bet is open. Afterwards: `manage.py breaker auto`"
        return f"{told['open_bets']} bets are open"
    price = told["price_cents"]
    lines = [
        f"index    {'none' if price is None else f'{price / 100:.2f}'}, {told['price_age_ms']} ms"
        f" old, made of {', '.join(told['made_of']) or 'nothing'}",
        f"breaker  {told['breaker']}, override {told['override']} {told['reason']}".rstrip(),
        f"bets     {told['open_bets']} open",
    ]
    for one in told["sources"]:
        heard = "not heard from" if one["age_ms"] is None else f"heard {one['age_ms']} ms ago"
        lines.append(f"source   {one['name']:<10} {'live' if one['live'] else 'DOWN'}, {heard}")
    if told["chosen"]:
        lines.append(f"chosen   {', '.join(told['chosen'])} instead of those configured")
    return "\n".join(lines)
