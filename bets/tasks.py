"""Celery tasks of the game. Each is safe to run twice, late, or in two workers at once."""

import logging
import time
from contextlib import nullcontext
from typing import Final

from celery import shared_task
from django.db import OperationalError

from bets import resolution
from bets.models import Bet, Settlement
from bets.settlement import SettleBets, Settled, closed_columns, decide_command
from pricefeed import recorder
from taptrading import clock
from taptrading.alone import alone
from taptrading.errors import DependencyError
from taptrading.limits import LIMITS
from wallet import link

log = logging.getLogger(__name__)

SPREAD_S: Final = 3.0
BATCHES: Final = 100
COUNTED: Final = 1_000_000
PAUSE_AT_MOST: Final = 2  # times as long as the batch took


@shared_task(name="bets.settle_due_columns")
@alone
def settle_due_columns() -> int:
    """Decide every column that is due and pay its bets. Returns the number of bets resolved."""
    resolved = 0
    try:
        for column_start in closed_columns(clock.now_us()):
            if _decided(column_start):
                resolved += _pay(column_start)
    except (DependencyError, OperationalError) as error:
        log.warning("settlement goes on later: %s", error)
    return resolved


def _decided(column_start: int) -> bool:
    """Whether the column has its decision, made now if it is due."""
    if Settlement.objects.filter(column_start=column_start).exists():
        return True
    decision = _decision(column_start)
    if decision is None:
        return False
    link.call(decide_command(decision))
    return True


def _decision(column_start: int) -> resolution.ColumnDecision | None:
    """Of an instant before the ticks are read: all that counts by then has to be among them. Once
    the patience is over, what is missing decides, so nothing may be on its way to being recorded.
    """
    now_us = clock.now_us()
    late = now_us > resolution.deadline_of(column_start)
    with recorder.standstill() if late else nullcontext():
        recorded = recorder.ticks_of_column(column_start, LIMITS.column_s)
    ticks = [resolution.Vertex(*tick) for tick in recorded]
    return resolution.resolve_column(column_start, ticks, now_us)


def _pay(column_start: int) -> int:
    """Resolve the column's bets, batch by batch, until one is not full."""
    bets = _open(column_start)
    at_once = batch_of(bets)
    paid = 0
    while bets:
        started = time.monotonic()
        outcome = link.call(SettleBets(column_start, at_once))
        if not isinstance(outcome, Settled):
            log.warning("column %d: %s", column_start, outcome.sentence)
            break
        paid += outcome.bets
        if outcome.bets < at_once:
            break
        time.sleep(pause_s(time.monotonic() - started, -(-bets // at_once)))
    return paid


def batch_of(bets: int) -> int:
    """Small batches leave the traders' between them little to wait for; for a huge column they
    would take too long in all."""
    return min(max(bets // BATCHES, LIMITS.settle_batch), LIMITS.settle_most)


def pause_s(took_s: float, batches: int) -> float:
    """How long to leave the writer to the traders after a batch that took so long, so that a
    column of so many batches is paid within SPREAD_S. A small one is paid sooner, and one for
    which that time is too short without a pause."""
    return min(max(SPREAD_S / max(batches, 1) - took_s, 0.0), PAUSE_AT_MOST * took_s)


def _open(column_start: int) -> int:
    """How many bets of the column are open, or COUNTED if there are more.

    Ordered as the index of open bets is: by that of cells, which looks as good to the database,
    all bets of the column would be walked, those that are resolved too.
    """
    found = Bet.objects.open().filter(column_start=column_start).order_by("id")
    return found.values("id")[:COUNTED].count()
