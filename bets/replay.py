"""Decided columns, decided again: from the evidence that was stored with each, from the recorded
ticks while they are kept, and each bet by the decision.

The same inputs give the same outcomes for ever, so whatever differs is a fault of the books, not
of the replay. Changes nothing.
"""

import hashlib
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from bets.models import Bet, Settlement
from bets.resolution import (
    ColumnDecision,
    Vertex,
    deadline_of,
    inflate_evidence,
    outcome,
    resolve_column,
)
from pricefeed import recorder
from taptrading import clock
from taptrading.limits import LIMITS
from taptrading.money import payout_micros

_COMPARED = ("state", "reason", "open_cents", "low_cents", "high_cents", "close_cents", "ticks")
_STATUS = {"HIT": "won", "MISS": "lost", "VOID": "void"}
_OPEN = frozenset({Bet.Status.ACCEPTED, Bet.Status.CONFIRMED})


class Difference(NamedTuple):
    """What stands in the books, and what the replay says instead."""

    column_start: int
    what: str
    stored: str
    replayed: str


class Replayed(NamedTuple):
    """One column. `from_ticks`: its recorded ticks are still kept and had their say too."""

    column_start: int
    bets: int
    from_ticks: bool
    differences: list[Difference]


def decided(from_s: int, to_s: int) -> list[int]:
    """The decided columns with from <= start < to (Unix seconds), oldest first."""
    columns = Settlement.objects.filter(column_start__gte=from_s, column_start__lt=to_s)
    return list(columns.order_by("column_start").values_list("column_start", flat=True))


def replay(column_start: int) -> Replayed:
    """Raises Settlement.DoesNotExist if the column has no decision."""
    stored = Settlement.objects.get(column_start=column_start)
    try:
        text = inflate_evidence(bytes(stored.evidence))
    except zlib.error as error:
        unreadable = Difference(column_start, "evidence", str(error), "cannot be read")
        return Replayed(column_start, 0, False, [unreadable])
    again = _by_evidence(column_start, text)
    differences = [*_hashes(stored, text), *_decisions(stored, again, "evidence")]
    ticks = _by_ticks(stored)
    if ticks is not None:
        differences += _decisions(stored, ticks, "ticks")
    bets = 0
    for difference in _bets(column_start, again):
        bets += 1
        if difference is not None:
            differences.append(difference)
    return Replayed(column_start, bets, ticks is not None, differences)


def _by_evidence(column_start: int, text: str) -> ColumnDecision | None:
    vertices = []
    for number, line in enumerate(text.splitlines()):
        at_ms, price_cents = map(int, line.split())
        vertices.append(Vertex(number, at_ms, price_cents, 0, ""))
    return resolve_column(column_start, vertices, deadline_of(column_start) + 1)


def _by_ticks(stored: Settlement) -> ColumnDecision | None:
    """None: the ticks are too old to be kept, so they have no say."""
    first_us = recorder.first_at_us()
    kept_us = clock.now_us() - LIMITS.tick_retention_s * clock.US_PER_S
    begins_us = (stored.column_start - LIMITS.column_s) * clock.US_PER_S
    if first_us is None or begins_us < max(first_us, kept_us):
        return None
    ticks = recorder.ticks_of_column(stored.column_start, LIMITS.column_s)
    decided_us = clock.to_us(stored.decided_at)
    return resolve_column(stored.column_start, [Vertex(*tick) for tick in ticks], decided_us)


def _hashes(stored: Settlement, text: str) -> Iterator[Difference]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != stored.ticks_sha256:
        yield Difference(stored.column_start, "hash of evidence", stored.ticks_sha256, digest)


def _decisions(stored: Settlement, again: ColumnDecision | None, by: str) -> Iterator[Difference]:
    names = _COMPARED if by == "evidence" else (*_COMPARED, "ticks_sha256")
    for name in names:
        before, after = getattr(stored, name), getattr(again, name, None)
        if before != after:
            what = f"{name} by {by}"
            yield Difference(stored.column_start, what, str(before), str(after))


def _bets(column_start: int, again: ColumnDecision | None) -> Iterator[Difference | None]:
    """For each bet that was resolved and is still in the database: how it differs, or None."""
    bets = Bet.objects.filter(column_start=column_start, taken_low_cents__isnull=False)
    for bet in bets.iterator():
        if bet.status in _OPEN:
            continue
        status = "void" if again is None else _STATUS[outcome(again, bet.low_cents, bet.high_cents)]
        paid = {
            "won": payout_micros(bet.stake_micros, bet.rate_bps or 0),
            "lost": 0,
            "void": bet.stake_micros,
        }[status]
        before, after = f"{bet.status} {bet.payout_micros}", f"{status} {paid}"
        same = before == after
        yield None if same else Difference(column_start, f"bet {bet.pk}", before, after)
