"""Withdrawals: asked for by a session and signed by its wallet, then moved forward step by step.

    held -> approved -> sent -> completed | failed
         -> rejected | cancelled

The writer decides each step; this file asks for it.
"""

import logging
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from taptrading import clock
from taptrading.errors import ApiError, DependencyError, Refusal
from taptrading.limits import LIMITS
from wallet import link, signing
from wallet.backlog import oldest_first
from wallet.custody import Custodian
from wallet.models import Withdrawal
from wallet.serializers import WithdrawalOutput
from wallet.transfers import (
    ApproveWithdrawal,
    CancelWithdrawal,
    MarkSent,
    RequestWithdrawal,
)

log = logging.getLogger(__name__)

Status = Withdrawal.Status
POLICY: Final = "policy"  # approves what needs no person


def request(wallet_id: int, address: str, fields: dict[str, Any], now_us: int) -> Withdrawal:
    """Raises ApiError with the first refusal in the contract's order, or DependencyError."""
    if fields["chain_id"] != settings.CHAIN_ID:
        raise ApiError("wrong_chain", chain_id=settings.CHAIN_ID)
    text = signing.withdrawal_text(
        settings.DOMAIN,
        settings.CHAIN_ID,
        address,
        fields["amount_micros"],
        fields["to_address"],
        fields["nonce"],
        fields["timestamp"],
    )
    refusal = signing.check_signer(text, fields["signature"], address, fields["timestamp"], now_us)
    if refusal is not None:
        raise ApiError.of(refusal)
    command = RequestWithdrawal(
        wallet_id=wallet_id,
        amount_micros=fields["amount_micros"],
        to_address=fields["to_address"],
        nonce=fields["nonce"].replace("-", ""),
        timestamp=fields["timestamp"],
        signature=fields["signature"],
    )
    outcome = link.call(command)
    if isinstance(outcome, Refusal):
        raise ApiError.of(_explained(outcome, command))
    with link.carried_out():
        return Withdrawal.objects.get(pk=outcome.id)


def _explained(refusal: Refusal, command: RequestWithdrawal) -> Refusal:
    """With the withdrawal that the nonce has: whoever lost the reply learns its id."""
    if refusal.code != "nonce_reused":
        return refusal
    row = Withdrawal.objects.get(wallet_id=command.wallet_id, nonce=UUID(command.nonce))
    same = (row.amount_micros, row.to_address, row.timestamp) == (
        command.amount_micros,
        command.to_address,
        command.timestamp,
    )
    detail = {"withdrawal": dict(WithdrawalOutput(row).data), "same_request": same}
    return Refusal(refusal.code, detail, refusal.message)


def cancel(wallet_id: int, withdrawal_id: int) -> Withdrawal:
    """Raises ApiError: not_found, or invalid_request when it is no longer held."""
    outcome = link.call(CancelWithdrawal(wallet_id, withdrawal_id))
    if isinstance(outcome, Refusal):
        raise ApiError.of(outcome)
    with link.carried_out():
        return Withdrawal.objects.get(pk=outcome.id)


def advance(custodian: Custodian | None, now_us: int) -> None:
    """Move every withdrawal that can move one step or more; those of frozen wallets wait. Safe to
    run twice, or at once. Raises DependencyError when the writer cannot be reached.

    A payout is asked for before it is marked as sent: a run that dies between the two asks
    again, and the custodian knows the id.
    """
    needs_nobody = _in_state(Status.HELD).filter(
        amount_micros__lte=LIMITS.withdrawal_approval_micros,
        approve_after__lte=clock.from_us(now_us),
        wallet__frozen=False,
    )
    for row in oldest_first(needs_nobody):
        link.call(ApproveWithdrawal(row.pk, POLICY))
    if custodian is None:
        return
    for row in oldest_first(_in_state(Status.APPROVED).filter(wallet__frozen=False)):
        _send(custodian, row)
    for row in oldest_first(_in_state(Status.SENT)):
        _ask(custodian, row)


def _in_state(status: Status) -> QuerySet[Withdrawal]:
    # SQLite takes a partial index only for its condition written out, not for parameters.
    open_ones = Withdrawal.objects.extra(where=["status IN ('held', 'approved', 'sent')"])
    return open_ones.filter(status=status)


def _send(custodian: Custodian, row: Withdrawal) -> None:
    try:
        custodian.send(row.pk, row.to_address, row.amount_micros)
    except DependencyError:
        raise
    except Exception:
        # One payout that cannot go out must not keep the others waiting; the next run tries again.
        log.exception("withdrawal %s to %s not sent", row.pk, signing.mask(row.to_address))
        return
    link.call(MarkSent(row.pk))


def _ask(custodian: Custodian, row: Withdrawal) -> None:
    try:
        custodian.ask(row.pk)
    except DependencyError:
        raise
    except Exception:
        log.exception("no answer about withdrawal %s", row.pk)
