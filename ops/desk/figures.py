"""What the operations page shows: figures of every part, each with a state and a sentence.

A state is a word and a sign besides its colour. Read at most once a second, however many look.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from django.db.models import Sum

from bets import settlement
from bets.exposure import liability_shares
from bets.models import Bet, CellExposure
from ops import health, proposals
from ops import metrics as platform_metrics
from ops.archive import status as archive_status
from ops.backup import status as backup_status
from ops.integrity.sql import ONCE
from ops.models import AuditEntry, Proposal, Reconciliation
from pricefeed import overrides
from pricefeed.board import Board
from pricefeed.breaker import AUTO
from taptrading import clock, disk
from taptrading.disk import Level
from taptrading.limits import LIMITS
from taptrading.money import format_usdc
from wallet.ids import CUSTODY, HOUSE
from wallet.models import LedgerEntry, Wallet, Withdrawal

GOOD: Final = "good"
WARNING: Final = "warning"
BAD: Final = "bad"
UNKNOWN: Final = "unknown"
_DAY_S: Final = 86_400
_ARCHIVE_S: Final = 8 * _DAY_S  # as the alert has it
_BACKUP_S: Final = 2 * 3_600
_INTEGRITY_S: Final = 26 * 3_600
_HEAT: Final = 5
GIB: Final = 1024**3

Figures = dict[str, Any]


class Tile(NamedTuple):
    label: str
    value: str
    state: str
    note: str = ""


class Line(NamedTuple):
    label: str
    value: str


class Samples:
    """What all processes have counted, by name and labels."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in platform_metrics.counted().collect():
            for sample in family.samples:
                self._found.setdefault(sample.name, []).append((sample.labels, sample.value))

    def __call__(self, name: str, **labels: str) -> float | None:
        """The sum of all that have these labels; None if nobody counts it."""
        values = [v for had, v in self._found.get(name, ()) if labels.items() <= had.items()]
        return sum(values) if values else None

    def by(self, name: str, label: str) -> dict[str, float]:
        return {had[label]: value for had, value in self._found.get(name, ())}

    def mean(self, histogram: str) -> float | None:
        count = self(f"{histogram}_count")
        return (self(f"{histogram}_sum") or 0.0) / count if count else None


def _page() -> Figures:
    now_us = clock.now_us()
    samples = Samples()
    found = health.healthz()["checks"]
    exposure = _exposure()
    _, board = health.check_redis()
    return {
        "now": clock.from_us(now_us),
        "tiles": [
            *_prices(board or Board(), now_us),
            *(_dependency(name, found[name]) for name in health.DEPENDENCIES),
            _settlement(now_us),
            _liability(exposure),
            _disk(),
            *_upkeep(samples, now_us),
        ],
        "override": _override(now_us),
        "sources": _sources(samples, board or Board(), now_us),
        "queues": _queues(samples),
        "counts": _counts(samples),
        "house": _house(),
        "exposure": exposure,
        "waiting": _waiting(),
        "recent": list(AuditEntry.objects.order_by("-id")[:8]),
    }


page: Final = health.Remembered(_page)


# Prices.


def _prices(board: Board, now_us: int) -> Iterable[Tile]:
    state = board.breaker(now_us // clock.US_PER_MS)
    how = {"closed": GOOD, "degraded": WARNING}.get(state, BAD)
    overridden = "" if board.override == AUTO else f"override: {board.override}. "
    yield Tile("Breaker", state, how, overridden + board.reason)
    age_ms = board.age_ms(now_us // clock.US_PER_MS)
    if board.tick is None or age_ms is None:
        yield Tile("Index price", "none", BAD, "no price yet")
        return
    how = GOOD if age_ms <= LIMITS.quote_age_ms else WARNING
    how = BAD if age_ms > LIMITS.breaker_open_ms else how
    price = f"{board.tick.price_cents // 100:,}.{board.tick.price_cents % 100:02d}"
    yield Tile("Index price", price, how, f"USD, {age_ms / 1_000:.1f} s old")


def _override(now_us: int) -> Figures | None:
    """The one that holds now, or nothing."""
    row = overrides.newest()
    over = row is None or (row.until is not None and clock.to_us(row.until) <= now_us)
    if row is None or over or row.state == AUTO:
        return None
    return {"state": row.state, "by": row.by, "reason": row.reason, "until": row.until}


def _sources(samples: Samples, board: Board, now_us: int) -> list[Figures]:
    """How old the newest message of each source is, and whether the index uses it."""
    used = set() if board.tick is None else set(board.tick.sources.split(","))
    rows = []
    for name, at_s in sorted(samples.by("pricefeed_source_used_timestamp", "source").items()):
        age_s = max(0.0, now_us / clock.US_PER_S - at_s)
        in_index = name in used
        rows.append(
            {
                "name": name,
                "age": f"{age_s:.1f} s",
                "state": GOOD if in_index else BAD,
                "word": "in the index" if in_index else "left out",
                "reconnects": _whole(samples("pricefeed_reconnects_total", source=name)),
                "refusals": _whole(samples("pricefeed_refusals_total", source=name)),
            }
        )
    return rows


# What it stands on, and its upkeep.


def _dependency(name: str, check: Figures) -> Tile:
    notes = {
        "database": lambda: f"{check.get('wal_size_mb') or 0:.0f} MiB of WAL",
        "redis": lambda: f"{check.get('latency_ms') or 0:.1f} ms, {check.get('memory_used_mb')} MB",
    }
    well = check["status"] == health.OK
    note = notes[name]() if well and name in notes else ""
    return Tile(name.capitalize(), "up" if well else "down", GOOD if well else BAD, note)


def _settlement(now_us: int) -> Tile:
    lag_s = settlement.lag_s(now_us)
    how = GOOD if lag_s <= 5 else WARNING if lag_s <= 60 else BAD
    return Tile("Settlement lag", f"{lag_s:.1f} s", how, "since the oldest open column closed")


def _liability(exposure: Figures) -> Tile:
    share = exposure["total"]["share"] or "0.0 %"
    how = WARNING if exposure["total"]["heat"] == _HEAT else GOOD
    return Tile("Open bets", share, how, f"promised, of {exposure['limits']['all']} USDC")


def _disk() -> Tile:
    try:
        room = disk.room()
    except OSError as error:
        return Tile("Disk", "unknown", BAD, type(error).__name__)
    how = {Level.FINE: GOOD, Level.REFUSE: BAD}.get(room.level(), WARNING)
    return Tile("Disk", f"{room.used_pct:.0f} %", how, f"{room.free_bytes / GIB:,.0f} GiB free")


def _upkeep(samples: Samples, now_us: int) -> Iterable[Tile]:
    yield _integrity(samples, now_us)
    yield _reconciliation(now_us)
    archived_us = archive_status.last_success_us()
    yield _since("Last archive", archived_us, now_us, _ARCHIVE_S, "weekly")
    taken_s = backup_status.known().get("taken_at")
    taken_us = None if taken_s is None else int(taken_s * clock.US_PER_S)
    yield _since("Last backup", taken_us, now_us, _BACKUP_S, "hourly")


def _integrity(samples: Samples, now_us: int) -> Tile:
    at_s = samples("last_successful_integrity_check_timestamp")
    if not at_s:
        return Tile("Integrity", "not yet", UNKNOWN, "the ledger is checked daily")
    findings = int(samples("ledger_findings") or 0)
    if findings:
        return Tile("Integrity", f"{findings} found", BAD, "manage.py verify_ledger")
    return _since("Integrity", int(at_s * clock.US_PER_S), now_us, _INTEGRITY_S, "clean")


def _reconciliation(now_us: int) -> Tile:
    last = Reconciliation.objects.order_by("-id").first()
    if last is None:
        return Tile("Custodian", "not yet", UNKNOWN, "compared daily")
    if last.mismatch_micros:
        return Tile("Custodian", f"off by {format_usdc(last.mismatch_micros)}", BAD, "USDC")
    return _since("Custodian", clock.to_us(last.at), now_us, _INTEGRITY_S, "agrees")


def _since(label: str, at_us: int | None, now_us: int, most_s: int, note: str) -> Tile:
    if at_us is None:
        return Tile(label, "not yet", UNKNOWN, note)
    old_s = max(0, now_us - at_us) // clock.US_PER_S
    return Tile(label, f"{_span(old_s)} ago", GOOD if old_s <= most_s else BAD, note)


def _span(seconds: int) -> str:
    """In its largest unit."""
    for unit, length_s in (("d", _DAY_S), ("h", 3_600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds // length_s} {unit}"
    return f"{seconds} s"


# Queues and counts.


def _queues(samples: Samples) -> list[Line]:
    flush_s = samples.mean("writer_flush_seconds")
    size = samples.mean("writer_batch_size")
    return [
        Line("Waiting for the writer", _whole(samples("entry_queue_depth"))),
        Line("Share of that queue taken", _percent(samples("entry_queue_use_ratio"))),
        Line("Waiting in the writer", _whole(samples("writer_queue_depth"))),
        Line("Share of that queue taken", _percent(samples("writer_queue_use_ratio"))),
        Line("Batches", _whole(samples("writer_batch_size_count"))),
        Line("Commands in a batch, mean", "-" if size is None else f"{size:.1f}"),
        Line("Time of a batch, mean", "-" if flush_s is None else f"{flush_s * 1_000:.1f} ms"),
        Line("Database was busy", _whole(samples("writer_busy_total"))),
        Line("Batches refused whole", _whole(samples("writer_batches_refused_total"))),
    ]


def _counts(samples: Samples) -> list[Line]:
    placed = samples.by("bets_placed_total", "status")
    resolved = samples.by("bets_resolved_total", "outcome")
    return [
        *(Line(f"Bets {name}", _whole(placed.get(name))) for name in ("accepted", "confirmed")),
        Line("Bets rejected or refused", _whole(placed.get("rejected"))),
        *(Line(f"Bets {name}", _whole(resolved.get(name))) for name in ("won", "lost", "void")),
        Line("Sockets", _whole(samples("websocket_connections"))),
        Line("Security events", _whole(samples("security_events_total"))),
    ]


# Money.


def _house() -> Figures:
    balance_micros = Wallet.objects.get(pk=HOUSE).balance_micros
    funded = _sum("FUNDING")
    taken = _sum("ADJUSTMENT", credit_wallet=CUSTODY)
    staked = Bet.objects.open().aggregate(sum=Sum("stake_micros"))["sum"] or 0
    profit_micros = balance_micros - staked - (funded - taken)
    return {
        "profit_state": GOOD if profit_micros >= 0 else WARNING,
        "lines": [
            Line("Balance", _usdc(balance_micros)),
            Line("Profit, all time", _usdc(profit_micros)),
            Line("Funded", _usdc(funded)),
            Line("Profit taken out", _usdc(taken)),
            Line("Stakes of open bets in it", _usdc(staked)),
            Line("Players' balances", _usdc(_players())),
        ],
    }


def _players() -> int:
    """All balances sum to zero: what the custodian holds is the house's, held or the players'."""
    own = Wallet.objects.exclude(kind=Wallet.Kind.PLAYER).aggregate(sum=Sum("balance_micros"))
    return -(own["sum"] or 0)


def _sum(kind: str, **more: Any) -> int:
    """Of entries of a kind that there are few of: the index over kinds finds them."""
    of_kind = LedgerEntry.objects.extra(where=[f"{ONCE} = %s"], params=[kind])  # noqa: S610
    entries = of_kind.filter(**more)
    return int(entries.aggregate(sum=Sum("amount_micros"))["sum"] or 0)


def _exposure() -> Figures:
    """By column and band: shares of the limits of a cell, a column and all."""
    rows = list(CellExposure.objects.filter(house_id=HOUSE, liability_micros__gt=0))
    balance_micros = Wallet.objects.get(pk=HOUSE).balance_micros
    _, of_cell, of_column, of_all = liability_shares(balance_micros)
    columns = sorted({row.column_start for row in rows})
    bands = sorted({row.low_cents for row in rows}, reverse=True)
    known = {(row.column_start, row.low_cents): row.liability_micros for row in rows}
    sums = [sum(known.get((c, b), 0) for b in bands) for c in columns]
    return {
        "columns": [f"{clock.from_us(c * clock.US_PER_S):%H:%M:%S}" for c in columns],
        "bands": [
            {
                "low": f"{band // 100:,}",
                "cells": [_cell(known.get((column, band), 0), of_cell) for column in columns],
            }
            for band in bands
        ],
        "sums": [_cell(micros, of_column) for micros in sums],
        "total": _cell(sum(sums), of_all),
        "limits": {"cell": _usdc(of_cell), "column": _usdc(of_column), "all": _usdc(of_all)},
    }


def _cell(micros: int, limit_micros: int) -> Figures:
    """`heat` is 0 for nothing, then 1 … 5 by fifths of the limit."""
    if not micros:
        return {"text": "", "share": "", "heat": 0}
    heat = min(_HEAT, 1 + micros * _HEAT // max(limit_micros, 1))
    share = 100 * micros / max(limit_micros, 1)
    return {"text": _short(micros), "share": f"{share:.1f} %", "heat": heat}


# People.


def _waiting() -> Figures:
    large = Withdrawal.objects.extra(where=["status IN ('held', 'approved', 'sent')"]).filter(
        status=Withdrawal.Status.HELD, amount_micros__gt=LIMITS.withdrawal_approval_micros
    )
    opened = Proposal.objects.filter(state__in=["open", "approved"]).select_related(
        "proposed_by", "wallet", "withdrawal"
    )
    return {
        "proposals": [
            {"row": row, "what": proposals.what(row)} for row in opened.order_by("pk")[:20]
        ],
        "withdrawals": [
            {"row": row, "usdc": _usdc(row.amount_micros)}
            for row in large.select_related("wallet").order_by("pk")[:20]
        ],
        "approval_from": _usdc(LIMITS.withdrawal_approval_micros),
    }


# As people read them.


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{int(value):,}"


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f} %"


def _usdc(micros: int) -> str:
    """To the cent, rounded down: the ledger has the rest."""
    cents = micros // 10_000
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def _short(micros: int) -> str:
    usdc = micros / 1_000_000
    if usdc >= 1_000_000:
        return f"{usdc / 1_000_000:.1f}M"
    return f"{usdc / 1_000:.1f}k" if usdc >= 1_000 else f"{usdc:.0f}"
