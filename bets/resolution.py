"""What became of a column, decided from recorded ticks: HIT, MISS or VOID for each cell (pure).

Integers only. Given the same ticks and the same instant the decision is the same for ever; no
operator, breaker or clock has a say in it. Who writes it down and pays is not known here.
"""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from taptrading.limits import LIMITS, Limits

Outcome = Literal["HIT", "MISS", "VOID"]

# Reasons for VOID. Missing data is never a loss for the trader.
NO_TICKS: Final = "no_ticks"  # nothing from the column's start on was recorded in time
NOT_RECORDED: Final = "not_recorded"  # nothing that reaches the end was recorded in time
GAP: Final = "gap"  # the path has no beginning, or neighbours lie too far apart


class Vertex(NamedTuple):
    """A recorded tick."""

    seq: int
    at_ms: int
    price_cents: int
    recorded_at_us: int
    sources: str


@dataclass(frozen=True, slots=True)
class ColumnDecision:
    """One decision for all cells of a column. Prices are those of the path; None when void."""

    column_start: int
    state: Literal["settled", "void"]
    reason: str
    open_cents: int | None
    low_cents: int | None
    high_cents: int | None
    close_cents: int | None
    ticks: int
    max_gap_ms: int | None
    sources: str
    evidence: str
    ticks_sha256: str


class _Path(NamedTuple):
    vertices: list[Vertex]
    has_start: bool
    has_inside: bool  # a tick at the start mark counts
    has_end: bool


def resolve_column(
    column_start: int, vertices: Iterable[Vertex], now_us: int, limits: Limits = LIMITS
) -> ColumnDecision | None:
    """The decision at `now_us`, or None while it is not due.

    Due as soon as a tick at or after the column's end is recorded, else when the patience after
    the end is over. `vertices` may be any superset of the path's, in any order; those recorded
    after `now_us`, or after that patience, do not count.
    """
    deadline_us = deadline_of(column_start, limits)
    counted = sorted(
        (v for v in vertices if v.recorded_at_us <= min(now_us, deadline_us)),
        key=lambda v: v.at_ms,
    )
    path = _path(column_start, counted, limits)
    if not path.has_end and now_us <= deadline_us:
        return None
    return _decision(column_start, path, limits)


def deadline_of(column_start: int, limits: Limits = LIMITS) -> int:
    """Until when a recording must reach the column's end, in microseconds."""
    return ((column_start + limits.column_s) * 1_000 + limits.recording_patience_ms) * 1_000


def outcome(decision: ColumnDecision, low_cents: int, high_cents: int) -> Outcome:
    """What the column means for the band [low_cents, high_cents).

    The path is straight between its vertices, so it takes every price between its extremes.
    """
    if decision.low_cents is None or decision.high_cents is None:
        return "VOID"
    touched = touches(decision.low_cents, decision.high_cents, low_cents, high_cents)
    return "HIT" if touched else "MISS"


def touches(path_low_cents: int, path_high_cents: int, low_cents: int, high_cents: int) -> bool:
    """Whether a path between these extremes has a point in the half-open band."""
    return path_low_cents < high_cents and path_high_cents >= low_cents


def _path(column_start: int, ticks: Sequence[Vertex], limits: Limits) -> _Path:
    """From the tick at the start (or the last before) to the one at the end (or first after)."""
    start_ms = column_start * 1_000
    end_ms = start_ms + limits.column_s * 1_000
    before = [v for v in ticks if v.at_ms <= start_ms][-1:]
    inside = [v for v in ticks if start_ms < v.at_ms < end_ms]
    after = [v for v in ticks if v.at_ms >= end_ms][:1]
    return _Path(
        vertices=before + inside + after,
        has_start=bool(before),
        has_inside=bool(inside) or any(v.at_ms == start_ms for v in before),
        has_end=bool(after),
    )


def _decision(column_start: int, path: _Path, limits: Limits) -> ColumnDecision:
    vertices = path.vertices
    max_gap_ms = max((b.at_ms - a.at_ms for a, b in pairwise(vertices)), default=None)
    reason = _void_reason(path, max_gap_ms, limits)
    prices = [v.price_cents for v in vertices] if not reason else []
    evidence = evidence_text(vertices)
    return ColumnDecision(
        column_start=column_start,
        state="void" if reason else "settled",
        reason=reason,
        open_cents=prices[0] if prices else None,
        low_cents=min(prices, default=None),
        high_cents=max(prices, default=None),
        close_cents=prices[-1] if prices else None,
        ticks=len(vertices),
        max_gap_ms=max_gap_ms,
        sources=_sources(vertices),
        evidence=evidence,
        ticks_sha256=hashlib.sha256(evidence.encode()).hexdigest(),
    )


def _void_reason(path: _Path, max_gap_ms: int | None, limits: Limits) -> str:
    """Why the column is void; empty when it is settled."""
    if not path.has_inside and not path.has_end:
        return NO_TICKS
    if not path.has_end:
        return NOT_RECORDED
    if not path.has_start or (max_gap_ms is not None and max_gap_ms > limits.gap_ms):
        return GAP
    return ""


def evidence_text(vertices: Iterable[Vertex]) -> str:
    """The canonical text of a path: one `<at_ms> <price_cents>` a line, LF between them."""
    return "\n".join(f"{v.at_ms} {v.price_cents}" for v in vertices)


def deflate_evidence(text: str) -> bytes:
    """The text as a settlement stores it (zlib)."""
    return zlib.compress(text.encode(), 9)


def inflate_evidence(stored: bytes) -> str:
    """The text again. Raises zlib.error for anything but what `deflate_evidence` made."""
    return zlib.decompress(stored).decode()


def _sources(vertices: Iterable[Vertex]) -> str:
    """The venues that had a part in any vertex, sorted, with commas between."""
    names = {name for v in vertices for name in v.sources.split(",") if name}
    return ",".join(sorted(names))
