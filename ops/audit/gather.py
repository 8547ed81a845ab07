"""What the price feed's own database tells of the breaker comes into the audit log.

The feed never waits for the ledger's database, so it keeps overrides and changes of state in its
own; each is taken over once, here, however often this runs.
"""

from collections.abc import Callable
from typing import Any, Final

from django.db.models import Model

from ops.models import AuditEntry
from pricefeed.models import BreakerChange, BreakerOverride, SourceChoice
from taptrading import audit, clock
from taptrading.audit import Note

PAGE: Final = 100
BREAKER: Final = "breaker"
FEED: Final = "pricefeed"


def gather() -> int:
    """How many were new."""
    notes = _untold(BreakerOverride, of_override) + _untold(BreakerChange, _of_change)
    notes += _untold(SourceChoice, _of_choice)
    # Of one instant, in the order in which they came: newest first is how they were found.
    notes.reverse()
    audit.record_all(sorted(notes, key=lambda note: note.at_us))
    return len(notes)


def of_override(row: BreakerOverride) -> Note:
    until = "" if row.until is None else clock.iso_ms(clock.to_us(row.until))
    return Note(
        "breaker.override",
        BREAKER,
        after={"override": row.state, "until": until},
        reason=row.reason,
        actor=row.by,
        source=f"override:{row.pk}",
        at_us=clock.to_us(row.created_at),
    )


def _of_change(row: BreakerChange) -> Note:
    return Note(
        "breaker.state",
        BREAKER,
        before={"breaker": row.before},
        after={"breaker": row.after, "override": row.override},
        reason=row.reason,
        actor=FEED,
        source=f"change:{row.pk}",
        at_us=clock.to_us(row.at),
    )


def _of_choice(row: SourceChoice) -> Note:
    return Note(
        "pricefeed.choose_sources",
        FEED,
        after={"sources": row.sources},
        reason=row.reason,
        actor=row.by,
        source=f"choice:{row.pk}",
        at_us=clock.to_us(row.created_at),
    )


def _untold(model: type[Model], note_of: Callable[[Any], Note]) -> list[Note]:
    """Newest first, page by page, until a page holds nothing new: rows are not told in the order
    of their ids, but nearly so."""
    found: list[Note] = []
    below: dict[str, int] = {}
    while True:
        rows = list(model._default_manager.filter(**below).order_by("-pk")[:PAGE])
        notes = {str(note.source): note for note in map(note_of, rows)}
        told = AuditEntry.objects.filter(source__in=notes).values_list("source", flat=True)
        new = [note for source, note in notes.items() if source not in set(told)]
        found += new
        if not new or len(rows) < PAGE:
            return found
        below = {"pk__lt": rows[-1].pk}
