"""What takes two people: who may, in time, once, and what is remembered of it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from ops import proposals, tasks
from ops.models import AuditEntry, Proposal
from taptrading import clock
from taptrading.errors import ApiError, DependencyError
from taptrading.limits import LIMITS
from tests import factories
from tests.fakes import InProcessLink, ManualClock
from wallet import custody, link
from wallet.ids import CUSTODY, HOUSE
from wallet.models import LedgerEntry, Wallet, Withdrawal
from wallet.transfers import RequestWithdrawal, SetFrozen

USDC = 1_000_000
Kind = Proposal.Kind


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann", is_staff=True)


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create_user("ben", is_staff=True)


def funding(user: User, usdc: int = 100) -> Proposal:
    return proposals.propose(user, Kind.FUNDING, "a start", amount_micros=usdc * USDC)


def balance(pk: int) -> int:
    return int(Wallet.objects.get(pk=pk).balance_micros) // USDC


def test_approve_when_by_another_then_the_money_has_moved_and_who_did_it_is_known(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    done = proposals.approve(ben, funding(ann).pk)
    entry = LedgerEntry.objects.get(kind="FUNDING")
    assert (done.state, done.entry_id) == ("done", entry.pk)
    assert (entry.reference, entry.amount_micros) == (f"proposal:{done.pk}", 100 * USDC)
    assert balance(HOUSE) == 100
    assert custody.local.holdings_micros() == 100 * USDC
    notes = AuditEntry.objects.filter(subject=done.reference).order_by("id")
    assert [note.action for note in notes] == [
        *("proposal.made", "proposal.approved", "house.funded", "proposal.done"),
    ]
    moved = notes.get(action="house.funded")
    assert (moved.actor, moved.reason) == ("ann, ben", "a start")


def test_approve_when_by_whoever_proposed_it_then_forbidden(
    writer: InProcessLink, ann: User
) -> None:
    proposal = funding(ann)
    with pytest.raises(ApiError) as refused:
        proposals.approve(ann, proposal.pk)
    assert refused.value.refusal.code == "forbidden"
    proposal.refresh_from_db()
    assert (proposal.state, balance(HOUSE)) == ("open", 0)


@pytest.mark.parametrize("state", ["approved", "done", "refused"])
def test_proposal_when_the_same_person_would_decide_then_the_database_refuses(
    ann: User, now: ManualClock, state: str
) -> None:
    proposal = funding(ann)
    changes: dict[str, Any] = {"state": state, "decided_at": clock.now()}
    for decided_by in (ann, None):
        with pytest.raises(IntegrityError, match="proposal_two_people"), transaction.atomic():
            Proposal.objects.filter(pk=proposal.pk).update(decided_by=decided_by, **changes)


def test_proposal_when_its_time_is_over_then_nobody_approves_it(
    writer: InProcessLink, ann: User, ben: User, now: ManualClock, settings: Any
) -> None:
    proposal = funding(ann)
    now.advance(settings.PROPOSAL_HOURS * 3_600)
    with pytest.raises(ApiError, match="not open any more"):
        proposals.approve(ben, proposal.pk)
    late: dict[str, Any] = {"decided_by": ben, "decided_at": clock.now(), "state": "approved"}
    with pytest.raises(IntegrityError, match="proposal_in_time"), transaction.atomic():
        Proposal.objects.filter(pk=proposal.pk).update(**late)
    assert tasks.carry_out_proposals() == 0
    proposal.refresh_from_db()
    assert (proposal.state, balance(HOUSE)) == ("expired", 0)
    assert AuditEntry.objects.filter(action="proposal.expired").count() == 1


def test_approve_when_it_was_decided_already_then_refused_and_nothing_moves_again(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    proposal = funding(ann)
    proposals.approve(ben, proposal.pk)
    for decide in (
        lambda: proposals.approve(ben, proposal.pk),
        lambda: proposals.reject(ben, proposal.pk, "too late"),
    ):
        with pytest.raises(ApiError, match="not open any more"):
            decide()
    assert balance(HOUSE) == 100


def test_carry_out_when_it_comes_again_then_the_money_moved_once(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    proposal = funding(ann)
    proposals.approve(ben, proposal.pk)
    again = Proposal.objects.get(pk=proposal.pk)
    proposals.carry_out(again)
    assert (balance(HOUSE), custody.local.holdings_micros()) == (100, 100 * USDC)
    assert AuditEntry.objects.filter(action="proposal.done").count() == 1


def test_approve_when_the_writer_is_away_then_it_is_carried_out_later(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    def away(_: object) -> Any:
        raise DependencyError("away")

    proposal = funding(ann)
    link.use(away)
    with pytest.raises(DependencyError):
        proposals.approve(ben, proposal.pk)
    proposal.refresh_from_db()
    assert (proposal.state, balance(HOUSE)) == ("approved", 0)
    link.use(writer.call)
    assert tasks.carry_out_proposals() == 1
    proposal.refresh_from_db()
    assert (proposal.state, balance(HOUSE)) == ("done", 100)


def test_reject_when_by_its_own_author_then_it_is_over(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    proposal = proposals.reject(ann, funding(ann).pk, "a slip")
    assert proposal.state == "rejected"
    with pytest.raises(ApiError):
        proposals.approve(ben, proposal.pk)
    note = AuditEntry.objects.get(action="proposal.rejected")
    assert (note.reason, note.before, note.after) == (
        *("a slip", {"state": "open"}, {"state": "rejected"}),
    )


def test_take_profit_then_both_books_have_it_and_too_much_is_refused(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    proposals.approve(ben, funding(ann).pk)
    for usdc, state in ((101, "refused"), (40, "done")):
        taking = proposals.propose(ann, Kind.PROFIT, "a year", amount_micros=usdc * USDC)
        assert proposals.approve(ben, taking.pk).state == state
    assert (balance(HOUSE), balance(CUSTODY)) == (60, -60)
    assert custody.local.holdings_micros() == 60 * USDC


@pytest.mark.parametrize(("amount", "player", "house"), [(30, 130, 70), (-30, 70, 130)])
def test_adjust_when_above_or_below_zero_then_the_house_gives_or_takes(
    writer: InProcessLink, ann: User, ben: User, amount: int, player: int, house: int
) -> None:
    wallet = factories.funded_wallet(writer, usdc=100)
    proposals.approve(ben, funding(ann).pk)
    wanted = proposals.propose(
        ann, Kind.ADJUSTMENT, "put right", amount_micros=amount * USDC, wallet=wallet
    )
    assert proposals.approve(ben, wanted.pk).state == "done"
    assert (balance(wallet.pk), balance(HOUSE)) == (player, house)


def large_withdrawal(writer: InProcessLink) -> Withdrawal:
    micros = LIMITS.withdrawal_approval_micros + 1
    wallet = factories.funded_wallet(writer, usdc=micros // USDC + 1)
    assert wallet.address is not None
    writer.call(RequestWithdrawal(wallet.pk, micros, wallet.address, "ab" * 16, 0, bytes(65)))
    return Withdrawal.objects.get()


def test_withdrawal_when_two_people_say_so_then_approved_and_proposed_once_at_a_time(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    row = large_withdrawal(writer)
    changes: dict[str, Any] = {"amount_micros": row.amount_micros, "withdrawal": row}
    wanted = proposals.propose(ann, Kind.WITHDRAWAL, "known", **changes)
    with pytest.raises(ApiError, match="proposed already"):
        proposals.propose(ben, Kind.WITHDRAWAL, "known", **changes)
    assert proposals.approve(ben, wanted.pk).state == "done"
    row.refresh_from_db()
    assert row.status == "approved"


def test_withdrawal_when_the_answer_was_lost_and_it_went_on_then_done(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    row = large_withdrawal(writer)
    changes: dict[str, Any] = {"amount_micros": row.amount_micros, "withdrawal": row}
    wanted = proposals.propose(ann, Kind.WITHDRAWAL, "known", **changes)
    proposals._decide(wanted, ben, Proposal.State.APPROVED, "proposal.approved", "")
    Withdrawal.objects.update(status="sent")
    assert tasks.carry_out_proposals() == 1
    wanted.refresh_from_db()
    assert wanted.state == "done"


def test_unfreeze_when_two_people_say_so_then_the_wallet_is_free(
    writer: InProcessLink, ann: User, ben: User
) -> None:
    wallet = factories.funded_wallet(writer)
    writer.call(SetFrozen(wallet.pk, True, "ann", "odd"))
    wanted = proposals.propose(ann, Kind.UNFREEZE, "explained", wallet=wallet)
    proposals.approve(ben, wanted.pk)
    wallet.refresh_from_db()
    assert not wallet.frozen
    note = AuditEntry.objects.filter(action="wallet.frozen").latest("id")
    assert (note.actor, note.reason) == ("ann, ben", "explained")
