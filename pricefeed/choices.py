"""Which sources the index is made of, when an operator has chosen others than the settings name.

Recorded with who and why; the newest choice counts, and survives restarts. The feed looks every
second. Only venues can be chosen: real prices are never replaced by simulated ones.
"""

import logging
from collections.abc import Sequence
from typing import Final

from django.conf import settings

from pricefeed.models import SourceChoice
from taptrading import clock
from taptrading.errors import TapTradingError

log = logging.getLogger(__name__)

VENUES: Final = ("binance", "coinbase", "kraken")


class NotPossible(TapTradingError):
    """These sources cannot be chosen."""


def record(names: Sequence[str], *, reason: str, by: str) -> SourceChoice:
    """Append a choice; no names at all: those of the settings again. Raises NotPossible."""
    check(names)
    row = SourceChoice.objects.create(
        sources=",".join(names), reason=reason[:200], by=by[:150], created_at=clock.now()
    )
    log.warning("action=choose_sources sources=%s by=%s why=%s", row.sources, by, reason)
    return row


def check(names: Sequence[str]) -> None:
    """Raises NotPossible unless the index may be made of these; none: those of the settings."""
    if not names:
        return
    if unknown := sorted(set(names) - set(VENUES)):
        raise NotPossible(f"no such venue: {', '.join(unknown)}; there are {', '.join(VENUES)}")
    if len(set(names)) < len(names):
        raise NotPossible("each venue once")
    if not set(settings.PRICE_SOURCES) <= set(VENUES):
        raise NotPossible(f"PRICE_SOURCES is {settings.PRICE_SOURCES[0]}: it stands alone")
    if len(names) < settings.SOURCES_MIN:
        raise NotPossible(
            f"SOURCES_MIN is {settings.SOURCES_MIN}: with {len(names)} there would be no tick"
        )


def newest() -> SourceChoice | None:
    return SourceChoice.objects.order_by("-created_at", "-id").first()


def current() -> tuple[str, ...]:
    """Those chosen if they still fit the settings, else those of the settings."""
    row = newest()
    chosen = tuple(row.sources.split(",")) if row is not None and row.sources else ()
    if chosen:
        try:
            check(chosen)
        except NotPossible:
            chosen = ()
    return chosen or tuple(settings.PRICE_SOURCES)
