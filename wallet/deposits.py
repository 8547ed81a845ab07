"""Deposits: announced by the trader, completed by the custodian's event."""

import logging
from typing import Final

from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import QuerySet

from taptrading import clock
from taptrading.errors import ApiError, DependencyError, Refusal
from wallet import link
from wallet.backlog import oldest_first
from wallet.custody import local
from wallet.models import Deposit
from wallet.transfers import RequestDeposit

log = logging.getLogger(__name__)

_PATIENCE_US: Final = 5 * clock.US_PER_S  # whoever asked for the deposit may still be at it


def request(wallet_id: int, amount_micros: int) -> Deposit:
    """A new deposit; in demo mode the local custodian has received and reported it already.

    Raises ApiError or DependencyError.
    """
    outcome = link.call(RequestDeposit(wallet_id, amount_micros))
    if isinstance(outcome, Refusal):
        raise ApiError.of(outcome)
    with link.carried_out():
        deposit = Deposit.objects.select_related("wallet").get(pk=outcome.id)
        if settings.DEMO:
            try:
                _receive(deposit)
            except (ApiError, DependencyError, DatabaseError) as error:
                # It is on record, so it is not refused: whoever asked again would have two.
                log.warning("deposit %s is completed later: %s", deposit.pk, error)
            deposit.refresh_from_db()
    return deposit


def advance(now_us: int) -> None:
    """Complete the demo's deposits that were left half done. Safe to run twice, or at once.
    Raises DependencyError when the writer cannot be reached.
    """
    if not settings.DEMO:
        return
    left = _pending().filter(created_at__lte=clock.from_us(now_us - _PATIENCE_US))
    for deposit in oldest_first(left.select_related("wallet")):
        try:
            _receive(deposit)
        except DependencyError:
            raise
        except Exception:
            log.exception("deposit %s not completed", deposit.pk)


def _pending() -> QuerySet[Deposit]:
    # SQLite takes a partial index only for its condition written out, not for parameters.
    return Deposit.objects.extra(where=["wallet_deposit.status = 'pending'"])


def _receive(deposit: Deposit) -> None:
    local.receive(deposit, deposit.wallet.address or "")
