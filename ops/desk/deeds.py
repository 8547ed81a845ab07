"""What operators can do, one class a deed: who may, what it asks for, what it does.

A deed makes one call into the core and says in a sentence what became of it.
"""

from typing import Any, ClassVar, Final

from django import forms

from ops import proposals
from ops.audit.gather import of_override
from ops.desk.forms import AdjustmentForm, AmountForm, BreakerForm, WalletForm, WithdrawalForm
from ops.models import Proposal
from pricefeed import overrides
from taptrading import audit
from taptrading.errors import ApiError, Refusal
from wallet import link
from wallet.protocol import Command
from wallet.transfers import RejectWithdrawal, SetFrozen

Answers = dict[str, Any]


class Deed:
    name: ClassVar[str]
    title: ClassVar[str]
    explanation: ClassVar[str] = ""
    permission: ClassVar[str]
    form: ClassVar[type[forms.Form]]

    def do(self, user: Any, answers: Answers) -> str:
        """Raises ApiError or DependencyError."""
        raise NotImplementedError


class OverrideBreaker(Deed):
    name, title = "breaker", "Override the breaker"
    explanation = (
        "Every process follows within a second. It refuses new bets, or lets them in sooner; it"
        " never changes the outcome of one."
    )
    permission = "ops.override_breaker"
    form = BreakerForm

    def do(self, user: Any, answers: Answers) -> str:
        row = overrides.record(
            answers["state"],
            reason=answers["reason"],
            by=user.get_username(),
            lasts_s=answers["minutes"] * 60,
        )
        audit.try_to_record(of_override(row))
        heard = overrides.wake_feed()
        later = "" if heard else " Redis is away: the feed looks within a second."
        until = "" if row.until is None else f" until {row.until:%Y-%m-%d %H:%M} UTC"
        return f"The breaker's override is {row.state}{until}.{later}"


class FreezeWallet(Deed):
    name, title = "freeze", "Freeze a wallet"
    explanation = (
        "It can neither bet nor withdraw, and what it has asked to withdraw waits. One person"
        " freezes; to unfreeze takes two."
    )
    permission = "ops.freeze_wallet"
    form = WalletForm

    def do(self, user: Any, answers: Answers) -> str:
        wallet = answers["wallet"]
        _carried_out(SetFrozen(wallet.pk, True, user.get_username(), answers["reason"]))
        return f"The wallet {wallet} is frozen."


class RejectHeldWithdrawal(Deed):
    name, title = "reject-withdrawal", "Reject a withdrawal"
    explanation = "Only while it is held. The money goes back to the wallet at once."
    permission = "ops.reject_withdrawal"
    form = WithdrawalForm

    def do(self, user: Any, answers: Answers) -> str:
        row = answers["withdrawal"]
        _carried_out(RejectWithdrawal(row.pk, user.get_username(), answers["reason"]))
        return f"The withdrawal {row.pk} is rejected, and its money is back in the wallet."


class _Proposing(Deed):
    permission = "ops.propose_money"
    kind: ClassVar[Proposal.Kind]

    def do(self, user: Any, answers: Answers) -> str:
        proposal = proposals.propose(
            user,
            self.kind,
            answers["reason"],
            amount_micros=self._amount_micros(answers),
            wallet=answers.get("wallet"),
            withdrawal=answers.get("withdrawal"),
        )
        return (
            f"Proposal {proposal.pk}: {proposals.what(proposal)}. Somebody else has to approve it"
            f" before {proposal.expires_at:%Y-%m-%d %H:%M} UTC."
        )

    def _amount_micros(self, answers: Answers) -> int | None:
        return answers.get("amount")


class ProposeApproval(_Proposing):
    name, title = "approve-withdrawal", "Propose to approve a withdrawal"
    explanation = (
        "For those above the limit that needs people. One to a new address waits until its day is"
        " over, whoever approves it."
    )
    kind = Proposal.Kind.WITHDRAWAL
    form = WithdrawalForm

    def _amount_micros(self, answers: Answers) -> int | None:
        return int(answers["withdrawal"].amount_micros)


class ProposeUnfreezing(_Proposing):
    name, title = "unfreeze", "Propose to unfreeze a wallet"
    kind = Proposal.Kind.UNFREEZE
    form = WalletForm


class ProposeFunding(_Proposing):
    name, title = "fund-house", "Propose to fund the house"
    explanation = "The custodian holds this money for the operator already; it goes to the house."
    kind = Proposal.Kind.FUNDING
    form = AmountForm


class ProposeProfit(_Proposing):
    name, title = "take-profit", "Propose to take profit out of the house"
    explanation = "What the house has promised on open bets stays in it."
    kind = Proposal.Kind.PROFIT
    form = AmountForm


class ProposeAdjustment(_Proposing):
    name, title = "adjust", "Propose to adjust a wallet's balance"
    explanation = "Between the house and one player; neither goes below zero."
    kind = Proposal.Kind.ADJUSTMENT
    form = AdjustmentForm


DEEDS: Final[dict[str, Deed]] = {
    deed.name: deed()
    for deed in (
        OverrideBreaker,
        FreezeWallet,
        ProposeUnfreezing,
        ProposeApproval,
        RejectHeldWithdrawal,
        ProposeFunding,
        ProposeProfit,
        ProposeAdjustment,
    )
}


def offered_to(user: Any) -> list[Deed]:
    return [deed for deed in DEEDS.values() if user.has_perm(deed.permission)]


def _carried_out(command: Command) -> None:
    outcome = link.call(command)
    if isinstance(outcome, Refusal):
        raise ApiError.of(outcome)
