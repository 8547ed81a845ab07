"""What the audit log keeps of transfers: who, what, from what to what, why and when."""

from typing import Any

import pytest

from ops.models import AuditEntry
from taptrading import clock
from tests import factories
from tests.fakes import InProcessLink, ManualClock
from wallet.ids import HOUSE
from wallet.models import Wallet
from wallet.protocol import Done, Outcome
from wallet.transfers import (
    Adjust,
    ApproveWithdrawal,
    CustodyReport,
    FundHouse,
    MarkSent,
    RejectWithdrawal,
    RequestWithdrawal,
    SetFrozen,
)

USDC = 1_000_000


@pytest.fixture
def player(writer: InProcessLink) -> Wallet:
    return factories.funded_wallet(writer, usdc=100)


def noted(action: str, now: ManualClock) -> list[tuple[Any, ...]]:
    """(actor, subject, before, after, reason) of each deed that was done just now."""
    fields = ("actor", "subject", "before", "after", "reason")
    notes = AuditEntry.objects.filter(action=action, at=clock.from_us(now.us)).order_by("id")
    return list(notes.values_list(*fields))


def done_id(outcome: Outcome) -> int:
    assert isinstance(outcome, Done), outcome
    return outcome.id


def test_funding_when_done_then_noted_with_both_people_and_once(
    writer: InProcessLink, now: ManualClock
) -> None:
    fund = FundHouse(5 * USDC, "proposal:1", "ann", "ben", "more room")
    writer.run([fund, fund])
    note: tuple[Any, ...] = ("ann, ben", "proposal:1", {}, {"amount_micros": 5 * USDC}, "more room")
    assert noted("house.funded", now) == [note]
    now.advance(1)
    writer.call(FundHouse(USDC, "start"))
    assert noted("house.funded", now) == [("system", "start", {}, {"amount_micros": USDC}, "")]


def test_adjustment_when_done_then_noted_from_whom_to_whom(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    writer.call(Adjust(player.pk, HOUSE, 3 * USDC, "proposal:2", "ann", "ben", "paid twice"))
    after = {"amount_micros": 3 * USDC, "debit": player.pk, "credit": HOUSE}
    assert noted("balance.adjusted", now) == [("ann, ben", "proposal:2", {}, after, "paid twice")]


def test_freezing_when_done_then_noted_with_what_was_before(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    freeze = SetFrozen(player.pk, True, "ann", "stolen key")
    writer.run([freeze, freeze])
    note = ("ann", f"wallet:{player.pk}", {"frozen": False}, {"frozen": True}, "stolen key")
    assert noted("wallet.frozen", now) == [note]


def requested(writer: InProcessLink, player: Wallet, nonce: str = "ab" * 16) -> int:
    assert player.address is not None
    outcome = writer.call(
        RequestWithdrawal(
            wallet_id=player.pk,
            amount_micros=40 * USDC,
            to_address=player.address,
            nonce=nonce,
            timestamp=1_764_000_000,
            signature=bytes(range(65)),
        )
    )
    return done_id(outcome)


def test_withdrawal_when_it_goes_its_way_then_each_step_is_noted_with_who_took_it(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    def steps(*statuses: str) -> tuple[dict[str, Any], dict[str, Any]]:
        before, after = statuses
        return {"status": before} if before else {}, {"status": after, "amount_micros": 40 * USDC}

    row_id = requested(writer, player)
    subject = f"withdrawal:{row_id}"
    ended = CustodyReport(
        "event", "withdrawal.completed", str(row_id), str(player.address), 40 * USDC
    )
    writer.call(ApproveWithdrawal(row_id, "ann"))
    writer.call(MarkSent(row_id))
    writer.call(ended)
    assert noted("withdrawal.state", now) == [
        (f"wallet:{player.pk}", subject, *steps("", "held"), ""),
        ("ann", subject, *steps("held", "approved"), ""),
        ("system", subject, *steps("approved", "sent"), ""),
        ("custodian", subject, *steps("sent", "completed"), ""),
    ]
    now.advance(1)
    other_id = requested(writer, player, "cd" * 16)
    now.advance(1)
    writer.call(RejectWithdrawal(other_id, "ben", "not theirs"))
    note = ("ben", f"withdrawal:{other_id}", *steps("held", "rejected"), "not theirs")
    assert noted("withdrawal.state", now) == [note]
