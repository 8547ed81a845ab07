"""What is remembered of who did what: one row for each deed and each change of state.

Every app writes here; the table is `ops.AuditEntry`, append-only by trigger. Written beside what
it tells of, in the same transaction wherever both are in one database.
"""

import ipaddress
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from django.apps import apps
from django.conf import settings
from django.db import Error as DatabaseError

from taptrading import clock

log = logging.getLogger(__name__)

NOBODY: Final = "system"
_US_PER_DAY: Final = 86_400 * clock.US_PER_S


class Origin(NamedTuple):
    """On whose behalf this thread works just now, and how they came in."""

    actor: str = NOBODY
    request_id: str = ""
    client: str = ""  # masked


class Note(NamedTuple):
    """One deed or change. `before` and `after` hold what changed, JSON-ready."""

    action: str
    subject: str = ""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    reason: str = ""
    actor: str = ""  # whoever this thread works for, if empty
    source: str | None = None  # what this tells of; told once
    at_us: int = 0  # now, if 0


_UNKNOWN: Final = Origin()
_origin: ContextVar[Origin] = ContextVar("audit_origin", default=_UNKNOWN)


@contextmanager
def on_behalf(origin: Origin) -> Iterator[None]:
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def record(note: Note) -> None:
    """Raises django.db.Error: what must not happen unseen does not happen."""
    record_all([note])


def record_all(notes: list[Note]) -> None:
    """Those whose source was told before are passed over."""
    if notes:
        model: Any = apps.get_model("ops", "AuditEntry")  # not imported: apps know nobody above
        told_once = any(note.source for note in notes)
        rows = [_row(model, note) for note in notes]
        model._default_manager.bulk_create(rows, ignore_conflicts=told_once)


def try_to_record(note: Note) -> None:
    """For what has happened whatever becomes of the note. Not within a transaction."""
    try:
        record(note)
    except DatabaseError as error:
        log.error("not in the audit log: %s %s: %s", note.action, note.subject, error)


def mask_client(address: str) -> str:
    """A client's address without the part that tells people of one network apart."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    length = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, length), strict=False))


def _row(model: Any, note: Note) -> Any:
    origin = _origin.get()
    at_us = note.at_us or clock.now_us()
    return model(
        at=clock.from_us(at_us),
        # The trigger that lets old rows go reads the machine's time.
        keep_until=clock.from_us(
            max(at_us, clock.Clock().now_us()) + settings.AUDIT_RETENTION_DAYS * _US_PER_DAY
        ),
        actor=(note.actor or origin.actor)[:150],
        action=note.action,
        subject=note.subject[:100],
        before=dict(note.before or {}),
        after=dict(note.after or {}),
        reason=note.reason[:500],
        request_id=origin.request_id[:64],
        client=origin.client[:64],
        source=note.source,
    )
