"""Entries whose time is over go; the trigger lets no other one go."""

from typing import Final

from ops.models import AuditEntry
from taptrading import clock

_AT_ONCE: Final = 1_000


def prune() -> int:
    """How many have gone. By the machine's own time, as the trigger has it."""
    over = AuditEntry.objects.filter(keep_until__lt=clock.from_us(clock.Clock().now_us()))
    gone = 0
    while batch := list(over.order_by("pk").values_list("pk", flat=True)[:_AT_ONCE]):
        gone += AuditEntry.objects.filter(pk__in=batch).delete()[0]
    return gone
