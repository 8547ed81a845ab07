"""Wallet's work in the background. Every task is safe to run twice."""

import logging

from celery import shared_task

from taptrading import clock
from taptrading.alone import alone
from taptrading.errors import DependencyError
from wallet import deposits, withdrawals
from wallet.custody import custodian

log = logging.getLogger(__name__)


@shared_task(name="wallet.advance_withdrawals")
@alone
def advance_withdrawals() -> None:
    """And the demo's deposits, which wait for the same writer."""
    now_us = clock.now_us()
    try:
        deposits.advance(now_us)
        withdrawals.advance(custodian(), now_us)
    except DependencyError as error:
        log.warning("deposits and withdrawals go on later: %s", error)
