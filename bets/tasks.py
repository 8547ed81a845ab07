"""Celery tasks of the game. Each is safe to run twice, late, or in two workers at once."""

import logging

from celery import shared_task
from django.db.models import QuerySet

from bets import resolution
from bets.models import Bet, Settlement
from bets.settlement import SettleBets, Settled, closed_columns, decide_command
from pricefeed import recorder
from taptrading import clock
from taptrading.errors import DependencyError
from taptrading.limits import LIMITS
from wallet import link

log = logging.getLogger(__name__)


@shared_task(name="bets.settle_due_columns")
def settle_due_columns() -> int:
    """Decide every column that is due and pay its bets. Returns the number of bets resolved."""
    resolved = 0
    try:
        for column_start in closed_columns(clock.now_us()):
            if _decided(column_start):
                resolved += _pay(column_start)
    except DependencyError as error:
        log.warning("settlement goes on later: %s", error)
    return resolved


def _decided(column_start: int) -> bool:
    """Whether the column has its decision, made now if it is due."""
    if Settlement.objects.filter(column_start=column_start).exists():
        return True
    recorded = recorder.ticks_of_column(column_start, LIMITS.column_s)
    ticks = [resolution.Vertex(*tick) for tick in recorded]
    decision = resolution.resolve_column(column_start, ticks, clock.now_us())
    if decision is None:
        return False
    link.call(decide_command(decision))
    return True


def _pay(column_start: int) -> int:
    """Resolve the column's bets, batch by batch."""
    paid = 0
    while _bets(column_start).exists():
        outcome = link.call(SettleBets(column_start))
        if not isinstance(outcome, Settled):
            log.warning("column %d: %s", column_start, outcome.sentence)
            break
        paid += outcome.bets
    return paid


def _bets(column_start: int) -> QuerySet[Bet]:
    return Bet.objects.open().filter(column_start=column_start, status=Bet.Status.CONFIRMED)
