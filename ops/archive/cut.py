"""Where a segment ends: at the last seal that is old enough. Nothing is copied or removed here."""

from typing import Final, NamedTuple

from django.db import connection

from ops.archive.names import free_name
from taptrading import clock
from taptrading.limits import LIMITS
from wallet import ids, seals
from wallet.models import Segment
from wallet.segments import NEVER_ARCHIVED_US

_SEALS_AT_ONCE: Final = 10_000

_LAST: Final = "SELECT last_seal_id, last_entry_id FROM wallet_segment ORDER BY id DESC LIMIT 1"
_NEXT: Final = (
    "SELECT id, first_entry_id, last_entry_id, entries, previous, seal, created_at"
    " FROM wallet_seal WHERE id > %s AND last_entry_id < %s ORDER BY id LIMIT %s"
)


class TooYoung(ValueError):
    """Only what is at least an hour old may be archived."""


class Cut(NamedTuple):
    """From which seal to which, and the entries under them."""

    first_seal_id: int
    last_seal_id: int
    first_entry_id: int
    last_entry_id: int
    entries: int
    previous_seal: bytes
    seal: bytes
    cut_us: int


def default_until_us() -> int:
    return clock.now_us() - LIMITS.archive_after_s * clock.US_PER_S


def find(until_us: int, most_entries: int | None = None) -> Cut | None:
    """The next stretch of entries that were made before this instant, as long as one segment may
    be, or these many; None if there is none. Raises TooYoung."""
    most = min(LIMITS.segment_entries, most_entries or LIMITS.segment_entries)
    if until_us > clock.now_us() - NEVER_ARCHIVED_US:
        raise TooYoung
    with connection.cursor() as cursor:
        cursor.execute(_LAST)
        seal_id, _ = cursor.fetchone() or (0, 0)
    first = last = None
    entries = 0
    # Ids grow with time, so the index on them finds what created_at would have to be searched for.
    while rows := _seals(seal_id, ids.first_id_at(until_us)):
        for row in rows:
            if last is not None and entries + row[3] > most:
                return _cut(first, last, entries)
            first, last = first or row, row
            entries += row[3]
        seal_id = rows[-1][0]
    return None if last is None else _cut(first, last, entries)


_Seal = tuple[int, int, int, int, bytes, bytes, int]


def _seals(after: int, end_entry_id: int) -> list[_Seal]:
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [after, end_entry_id, _SEALS_AT_ONCE])
        found: list[_Seal] = cursor.fetchall()
    return found


def _cut(first: _Seal | None, last: _Seal, entries: int) -> Cut:
    assert first is not None
    return Cut(
        first_seal_id=first[0],
        last_seal_id=last[0],
        first_entry_id=first[1],
        last_entry_id=last[2],
        entries=entries,
        previous_seal=bytes(first[4]),
        seal=bytes(last[5]),
        cut_us=last[6],
    )


def record(cut: Cut) -> Segment:
    """The segment of this stretch, with its name."""
    assert cut.first_seal_id > 1 or cut.previous_seal == seals.GENESIS
    cut_at = clock.from_us(cut.cut_us)
    names = set(Segment.objects.values_list("name", flat=True))
    return Segment.objects.create(
        name=free_name(cut_at, names),
        state=Segment.State.CUT,
        first_seal_id=cut.first_seal_id,
        last_seal_id=cut.last_seal_id,
        first_entry_id=cut.first_entry_id,
        last_entry_id=cut.last_entry_id,
        previous_seal=cut.previous_seal,
        seal=cut.seal,
        cut_at=cut_at,
        created_at=clock.now(),
    )
