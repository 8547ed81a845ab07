"""Deeds that take two people: proposed by one, approved by another, carried out by the writer.

That they are two, and in time, is a constraint of the table; that each moves money once is the
ledger's: the proposal's own reference is its entry's.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from ops.models import Proposal
from taptrading import audit, clock
from taptrading.audit import Note
from taptrading.errors import ApiError, Refusal
from taptrading.money import MAX_INT, format_usdc
from wallet import custody, link
from wallet.ids import CUSTODY, HOUSE
from wallet.models import Wallet, Withdrawal
from wallet.protocol import Command
from wallet.transfers import Adjust, ApproveWithdrawal, FundHouse, SetFrozen

log = logging.getLogger(__name__)

Kind = Proposal.Kind
State = Proposal.State
_BEYOND_APPROVAL: Final = ("approved", "sent", "completed", "failed")


def propose(
    user: Any,
    kind: Kind,
    reason: str,
    *,
    amount_micros: int | None = None,
    wallet: Wallet | None = None,
    withdrawal: Withdrawal | None = None,
) -> Proposal:
    """Raises ApiError (invalid_request): no amount, or proposed already."""
    expire()
    now_us = clock.now_us()
    proposal = Proposal(
        kind=kind,
        amount_micros=amount_micros,
        wallet=wallet,
        withdrawal=withdrawal,
        reason=reason[:500],
        proposed_by=user,
        proposed_at=clock.from_us(now_us),
        expires_at=clock.from_us(now_us + settings.PROPOSAL_HOURS * 3_600 * clock.US_PER_S),
    )
    if amount_micros is not None and not 0 < abs(amount_micros) <= MAX_INT:
        raise ApiError("invalid_request", field="amount_micros")
    try:
        with transaction.atomic():
            proposal.save(force_insert=True)
            _note(proposal, "proposal.made", "", {"what": what(proposal)}, reason)
    except IntegrityError:
        raise ApiError("invalid_request", "That is proposed already.") from None
    return proposal


def approve(user: Any, pk: int) -> Proposal:
    """Approve and carry out. Raises ApiError: not_found, forbidden to whoever proposed it,
    invalid_request when it is not open any more; DependencyError when the writer is away: then it
    is approved, and carried out as soon as it is back."""
    proposal = _find(pk)
    if proposal.proposed_by_id == user.pk:
        raise ApiError("forbidden", "It takes somebody else to approve it.")
    _decide(proposal, user, State.APPROVED, "proposal.approved", "")
    return carry_out(proposal)


def reject(user: Any, pk: int, reason: str) -> Proposal:
    """By anybody who may approve, whoever proposed it too. Raises ApiError."""
    proposal = _find(pk)
    _decide(proposal, user, State.REJECTED, "proposal.rejected", reason)
    return proposal


def carry_out(proposal: Proposal) -> Proposal:
    """Send what was approved to the writer and keep what it says; again, if need be: it happens
    once. Raises DependencyError."""
    outcome = link.call(_command_of(proposal))
    if isinstance(outcome, Refusal) and not _has_happened(proposal):
        return _end(proposal, State.REFUSED, outcome.sentence, None)
    moves = proposal.kind in (Kind.FUNDING, Kind.PROFIT, Kind.ADJUSTMENT)
    _tell_custodian(proposal)
    return _end(proposal, State.DONE, "done", getattr(outcome, "id", None) if moves else None)


def carry_out_approved() -> int:
    """Those that were approved while the writer was away. How many. Raises DependencyError."""
    approved = list(_proposals().filter(state=State.APPROVED).order_by("pk")[:100])
    for proposal in approved:
        carry_out(proposal)
    return len(approved)


def expire() -> int:
    """Open ones whose time is over are so no longer. How many."""
    over = _proposals().filter(state=State.OPEN, expires_at__lte=clock.now()).order_by("pk")
    count = 0
    for proposal in over[:100]:
        with transaction.atomic():
            count += _moved(proposal, State.OPEN, state=State.EXPIRED)
            _note(proposal, "proposal.expired", State.OPEN, {"state": "expired"}, "")
    return count


def what(proposal: Proposal) -> str:
    """In words, with its amount and whom it is about."""
    words = str(proposal.get_kind_display())
    if proposal.amount_micros is not None:
        words += f" of {format_usdc(proposal.amount_micros)} USDC"
    if proposal.wallet is not None:
        words += f", wallet {proposal.wallet}"
    if proposal.withdrawal is not None:
        words += f", to {proposal.withdrawal.to_address}"
    return words


def _proposals() -> QuerySet[Proposal]:
    return Proposal.objects.select_related("proposed_by", "decided_by", "wallet", "withdrawal")


def _find(pk: int) -> Proposal:
    proposal = _proposals().filter(pk=pk).first()
    if proposal is None:
        raise ApiError("not_found")
    return proposal


def _decide(proposal: Proposal, user: Any, state: State, action: str, reason: str) -> None:
    """Of two who decide at once, one does."""
    now = clock.now()
    with transaction.atomic():
        changes = {"state": state, "decided_by": user, "decided_at": now}
        in_time = proposal.expires_at > now
        if not in_time or not _moved(proposal, State.OPEN, **changes):
            raise ApiError("invalid_request", "It is not open any more.")
        _note(proposal, action, State.OPEN, {"state": str(state)}, reason)


def _end(proposal: Proposal, state: State, outcome: str, entry_id: int | None) -> Proposal:
    changes = {
        "state": state,
        "outcome": outcome[:200],
        "entry_id": entry_id,
        "carried_out_at": clock.now(),
    }
    with transaction.atomic():
        if _moved(proposal, State.APPROVED, **changes):
            after = {"state": str(state), "outcome": outcome, "entry_id": entry_id}
            _note(proposal, f"proposal.{state}", State.APPROVED, after, "")
    return proposal


def _moved(proposal: Proposal, before: State, **changes: Any) -> int:
    """1 if it was still in that state, and is in the other one now."""
    moved = Proposal.objects.filter(pk=proposal.pk, state=before).update(**changes)
    for name, value in changes.items() if moved else ():
        setattr(proposal, name, value)
    return moved


def _command_of(proposal: Proposal) -> Command:
    build: Callable[[Proposal, str, str], Command] = _COMMANDS[Kind(proposal.kind)]
    assert proposal.decided_by is not None
    return build(proposal, proposal.proposed_by.get_username(), proposal.decided_by.get_username())


def _fund(proposal: Proposal, by: str, also_by: str) -> Command:
    return FundHouse(proposal.amount_micros or 0, proposal.reference, by, also_by, proposal.reason)


def _take_profit(proposal: Proposal, by: str, also_by: str) -> Command:
    amount = proposal.amount_micros or 0
    return Adjust(HOUSE, CUSTODY, amount, proposal.reference, by, also_by, proposal.reason)


def _adjust(proposal: Proposal, by: str, also_by: str) -> Command:
    amount, player = proposal.amount_micros or 0, proposal.wallet_id or 0
    debit, credit = (HOUSE, player) if amount > 0 else (player, HOUSE)
    return Adjust(debit, credit, abs(amount), proposal.reference, by, also_by, proposal.reason)


def _approve(proposal: Proposal, by: str, also_by: str) -> Command:
    return ApproveWithdrawal(proposal.withdrawal_id or 0, by, also_by)


def _unfreeze(proposal: Proposal, by: str, also_by: str) -> Command:
    return SetFrozen(proposal.wallet_id or 0, False, f"{by}, {also_by}", proposal.reason)


_COMMANDS: Final = {
    Kind.FUNDING: _fund,
    Kind.PROFIT: _take_profit,
    Kind.ADJUSTMENT: _adjust,
    Kind.WITHDRAWAL: _approve,
    Kind.UNFREEZE: _unfreeze,
}


def _has_happened(proposal: Proposal) -> bool:
    """An approval whose answer was lost, and the withdrawal has gone on since."""
    if proposal.withdrawal is None:
        return False
    proposal.withdrawal.refresh_from_db()
    return proposal.withdrawal.status in _BEYOND_APPROVAL


def _tell_custodian(proposal: Proposal) -> None:
    """The local custodian's books follow at once; a real one's are moved by people, there."""
    if not settings.DEMO or proposal.amount_micros is None:
        return
    if proposal.kind == Kind.FUNDING:
        custody.local.fund(proposal.reference, proposal.amount_micros)
    elif proposal.kind == Kind.PROFIT:
        custody.local.take_profit(proposal.reference, proposal.amount_micros)


def _note(proposal: Proposal, action: str, before: str, after: dict[str, Any], reason: str) -> None:
    was = {"state": str(before)} if before else {}
    audit.record(Note(action, proposal.reference, was, after, reason))
