"""Ticks to the database, and what settlement, pricing and charts read of them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from django.db import connections, transaction

from pricefeed.board import TickRecord
from pricefeed.models import Tick
from taptrading import clock
from taptrading.databases import PRICES

_FIELDS: Final = ("seq", "at", "price_cents", "sigma_ppm", "overshoot_e12", "sources")
_VERTEX: Final = ("seq", "at", "price_cents", "recorded_at", "sources")
_US_PER_MS: Final = clock.US_PER_MS

_SINCE: Final = (
    f"SELECT {', '.join(_FIELDS)} FROM pricefeed_tick WHERE at >= %s ORDER BY at LIMIT %s"  # noqa: S608
)
_ALL: Final = 2**63 - 1
# Prices at the first and last tick of each step, by the unique index on `at`.
_OHLC: Final = """
    SELECT step.number, first.price_cents, step.low, step.high, last.price_cents
    FROM (
        SELECT at / %s AS number, MIN(at) AS first_at, MAX(at) AS last_at,
               MIN(price_cents) AS low, MAX(price_cents) AS high
        FROM pricefeed_tick WHERE at >= %s AND at < %s GROUP BY 1
    ) AS step
    JOIN pricefeed_tick AS first ON first.at = step.first_at
    JOIN pricefeed_tick AS last ON last.at = step.last_at
    ORDER BY step.number DESC
"""


class Vertex(NamedTuple):
    """A tick as the path of a column sees it."""

    seq: int
    at_ms: int
    price_cents: int
    recorded_at_us: int
    sources: str


class Candle(NamedTuple):
    at_us: int
    open_cents: int
    low_cents: int
    high_cents: int
    close_cents: int


class Candles(NamedTuple):
    """Newest first. `has_older` tells whether there are more of them before the last one."""

    candles: list[Candle]
    has_older: bool


def disconnect() -> None:
    """Close this thread's connection; the next statement opens another."""
    connections[PRICES].close()


def record(ticks: Sequence[TickRecord], recorded_at_us: int | None = None) -> None:
    """All of them or none, by default as of the moment at which nobody else may write any more.
    Raises django.db.Error."""
    with transaction.atomic(using=PRICES):
        recorded_at = clock.now() if recorded_at_us is None else clock.from_us(recorded_at_us)
        Tick.objects.bulk_create(
            Tick(
                seq=tick.seq,
                at=clock.from_us(tick.at_ms * _US_PER_MS),
                price_cents=tick.price_cents,
                sigma_ppm=tick.sigma_ppm,
                overshoot_e12=tick.overshoot_e12,
                sources=tick.sources,
                recorded_at=recorded_at,
            )
            for tick in ticks
        )


def standstill() -> AbstractContextManager[None]:
    """Nothing is recorded meanwhile (in SQLite): a tick that is not there now will be recorded
    later than now. Raises django.db.OperationalError when another holds the lock."""
    return transaction.atomic(using=PRICES)


def newest() -> TickRecord | None:
    row = Tick.objects.order_by("-seq").values_list(*_FIELDS).first()
    return None if row is None else _tick(row)


def first_at_us() -> int | None:
    """When the oldest recorded tick fell; None before there is one."""
    first = Tick.objects.order_by("at").values_list("at", flat=True).first()
    return None if first is None else clock.to_us(first)


def ticks_since(from_us: int, limit: int = _ALL) -> list[TickRecord]:
    """The ticks from that instant on, oldest first; at most `limit`. Plain SQL: the writer asks
    for every tick."""
    with connections[PRICES].cursor() as cursor:
        cursor.execute(_SINCE, [from_us, limit])
        return [TickRecord(seq, at // _US_PER_MS, *rest) for seq, at, *rest in cursor.fetchall()]


def ticks_of_column(column_start: int, column_s: int) -> list[Vertex]:
    """The vertices of a column's path: the tick at its start (or the last before), all inside,
    the tick at its end (or the first after). Where one is not recorded, it is not there."""
    start_us = column_start * clock.US_PER_S
    end_us = start_us + column_s * clock.US_PER_S
    rows = Tick.objects.values_list(*_VERTEX)
    before = rows.filter(at__lte=start_us).order_by("-at").first()
    inside = rows.filter(at__gt=start_us, at__lt=end_us).order_by("at")
    after = rows.filter(at__gte=end_us).order_by("at").first()
    return [_vertex(row) for row in (before, *inside, after) if row is not None]


def ohlc(from_us: int, to_us: int, step_s: int, limit: int) -> Candles:
    """Open, low, high, close of the newest `limit` steps that begin in [from, to) and have a tick.

    Reads the ticks of these steps and no others: stretches without one are leapt over.
    """
    step_us = step_s * clock.US_PER_S
    first_us, end_us = (-(-at_us // step_us) * step_us for at_us in (from_us, to_us))
    candles: list[Candle] = []
    while (newest_us := _newest_at_us(first_us, end_us)) is not None and len(candles) < limit:
        end_us = newest_us - newest_us % step_us + step_us
        start_us = max(first_us, end_us - (limit - len(candles)) * step_us)
        with connections[PRICES].cursor() as cursor:
            cursor.execute(_OHLC, [step_us, start_us, end_us])
            candles += [Candle(number * step_us, *prices) for number, *prices in cursor.fetchall()]
        end_us = start_us
    return Candles(candles, has_older=newest_us is not None)


def _newest_at_us(from_us: int, to_us: int) -> int | None:
    ticks = Tick.objects.filter(at__gte=from_us, at__lt=to_us).order_by("-at")
    newest = ticks.values_list("at", flat=True).first()
    return None if newest is None else clock.to_us(newest)


def _tick(row: tuple[object, ...]) -> TickRecord:
    seq, at, *rest = row
    return TickRecord(seq, clock.to_us(at) // _US_PER_MS, *rest)  # type: ignore[arg-type]


def _vertex(row: tuple[object, ...]) -> Vertex:
    seq, at, price_cents, recorded_at, sources = row
    return Vertex(
        seq,  # type: ignore[arg-type]
        clock.to_us(at) // _US_PER_MS,  # type: ignore[arg-type]
        price_cents,  # type: ignore[arg-type]
        clock.to_us(recorded_at),  # type: ignore[arg-type]
        sources,  # type: ignore[arg-type]
    )
