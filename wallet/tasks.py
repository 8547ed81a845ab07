"""Wallet's work in the background. Every task is safe to run twice."""

from celery import shared_task

from taptrading import clock
from wallet import withdrawals
from wallet.custody import custodian


@shared_task(name="wallet.advance_withdrawals")
def advance_withdrawals() -> None:
    withdrawals.advance(custodian(), clock.now_us())
