"""Wallet's work in the background. Every task is safe to run twice."""

import logging

from celery import shared_task

from taptrading import clock
from taptrading.errors import DependencyError
from wallet import withdrawals
from wallet.custody import custodian

log = logging.getLogger(__name__)


@shared_task(name="wallet.advance_withdrawals")
def advance_withdrawals() -> None:
    try:
        withdrawals.advance(custodian(), clock.now_us())
    except DependencyError as error:
        log.warning("withdrawals go on later: %s", error)
