"""Celery tasks of the game. Each is safe to run twice, late, or in two workers at once."""

import logging
from typing import Final

from celery import shared_task

from bets import resolution
from bets.models import Bet, Settlement
from bets.settlement import SettleBets, Settled, closed_columns, decide_command
from pricefeed import recorder
from taptrading import clock
from taptrading.errors import DependencyError
from taptrading.limits import LIMITS
from wallet import link

log = logging.getLogger(__name__)

# One run is bounded; the next second's run goes on where it stopped.
BATCHES_A_RUN: Final = 400


@shared_task(name="bets.settle_due_columns")
def settle_due_columns() -> int:
    """Decide every column that is due and pay its bets. Returns the number of bets resolved."""
    resolved = batches = 0
    try:
        for column_start in closed_columns(clock.now_us()):
            if not _decided(column_start):
                continue
            while batches < BATCHES_A_RUN:
                batches += 1
                outcome = link.call(SettleBets(column_start))
                if not isinstance(outcome, Settled) or outcome.bets == 0:
                    break
                resolved += outcome.bets
    except DependencyError as error:
        log.warning("settlement goes on later: %s", error)
    return resolved


def _decided(column_start: int) -> bool:
    """Whether the column has its decision, made now if it is due."""
    if Settlement.objects.filter(column_start=column_start).exists():
        return True
    recorded = recorder.ticks_of_column(column_start, LIMITS.column_s)
    ticks = [resolution.Vertex(*tick) for tick in recorded]
    if not ticks and not Bet.objects.filter(column_start=column_start).exists():
        return False  # the platform was not running: nobody asks
    decision = resolution.resolve_column(column_start, ticks, clock.now_us())
    if decision is None:
        return False
    link.call(decide_command(decision))
    return True
