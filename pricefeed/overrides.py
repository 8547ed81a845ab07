"""The operator's word to the breaker: recorded with who, why, when and until when.

Three places speak: the command, the admin, and a Redis message on `circuit:override`. All of
them end here. The feed polls the newest row; a message on that channel makes it look at once.
"""

import logging
from typing import Final

import redis
from django.conf import settings

from pricefeed.breaker import AUTO, NO_OVERRIDE, OVERRIDES, Override, Verdict
from pricefeed.models import BreakerChange, BreakerOverride
from taptrading import clock
from taptrading.limits import LIMITS

log = logging.getLogger(__name__)

CHANNEL: Final = "circuit:override"
# A message that is no override: the row is written already.
WAKE: Final = "changed"
BY_REDIS: Final = "redis"
_PATIENCE_S: Final = 1.0


def record(state: str, *, reason: str, by: str, lasts_s: int | None = None) -> BreakerOverride:
    """Append an override that lasts so long, or until the next one; `auto` always does.

    Raises ValueError for a state the breaker does not know.
    """
    if state not in OVERRIDES:
        raise ValueError(f"an override is one of {', '.join(OVERRIDES)}, not {state!r}")
    now_us = clock.now_us()
    ends = lasts_s is not None and state != AUTO
    until = clock.from_us(now_us + lasts_s * clock.US_PER_S) if ends and lasts_s else None
    row = BreakerOverride.objects.create(
        state=state,
        reason=reason[:200],
        by=by[:150],
        created_at=clock.from_us(now_us),
        until=until,
    )
    log.warning("action=breaker_override state=%s by=%s until=%s why=%s", state, by, until, reason)
    return row


def record_message(text: str) -> bool:
    """An override that came over Redis; False when the text is none."""
    if text not in OVERRIDES:
        return False
    record(text, reason="Redis message", by=BY_REDIS, lasts_s=LIMITS.override_redis_s)
    return True


def record_change(at_us: int, before: str, verdict: Verdict) -> None:
    """The breaker has another state than before; empty: the feed has just started."""
    BreakerChange.objects.create(
        at=clock.from_us(at_us),
        before=before,
        after=verdict.breaker,
        override=verdict.override,
        reason=verdict.reason[:200],
    )


def newest() -> BreakerOverride | None:
    return BreakerOverride.objects.order_by("-created_at", "-id").first()


def current() -> Override:
    """The newest override as the breaker takes it; the breaker knows when it ends. Who spoke is
    not part of it: the breaker's reason is public."""
    row = newest()
    if row is None:
        return NO_OVERRIDE
    until_ms = None if row.until is None else clock.to_us(row.until) // clock.US_PER_MS
    return Override(row.state, until_ms, row.reason)


def wake_feed() -> bool:
    """Tell the feed to look now. False when Redis is away: it looks within a second anyway."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S
    )
    try:
        with client:
            client.publish(CHANNEL, WAKE)
    except (redis.RedisError, OSError) as error:
        log.warning("action=wake_feed failed why=%s", error)
        return False
    return True
