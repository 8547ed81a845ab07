"""Deposits: announced by the trader, completed by the custodian's event."""

from django.conf import settings

from taptrading.errors import ApiError, Refusal
from wallet import link
from wallet.custody import local
from wallet.models import Deposit
from wallet.transfers import RequestDeposit


def request(wallet_id: int, amount_micros: int) -> Deposit:
    """A new deposit; in demo mode the local custodian has received and reported it already.

    Raises ApiError or DependencyError.
    """
    outcome = link.call(RequestDeposit(wallet_id, amount_micros))
    if isinstance(outcome, Refusal):
        raise ApiError.of(outcome)
    deposit = Deposit.objects.select_related("wallet").get(pk=outcome.id)
    if settings.DEMO:
        local.receive(deposit, deposit.wallet.address or "")
        deposit.refresh_from_db()
    return deposit
