"""Transfers through the writer, command by command: amounts, bounds, codes, entries, news."""

from typing import Any

import pytest
from django.db import OperationalError
from django.forms import model_to_dict

from bets.liabilities import promised_micros
from ops.models import AuditEntry
from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from taptrading.money import MAX_INT
from tests import factories
from tests.fakes import InProcessLink, ManualClock
from wallet.events import Event
from wallet.ids import CUSTODY, HOLD, HOUSE
from wallet.models import CustodyEvent, Deposit, LedgerEntry, Wallet, Withdrawal
from wallet.protocol import Done, Outcome
from wallet.transfers import (
    Adjust,
    ApproveWithdrawal,
    CancelWithdrawal,
    CustodyReport,
    FundHouse,
    MarkSent,
    OpenWallet,
    RejectWithdrawal,
    Reported,
    RequestDeposit,
    RequestWithdrawal,
    SetFrozen,
    TransferHandler,
)
from wallet.writer import Writer

USDC = 1_000_000
ELSEWHERE = "0x" + "ee" * 20
NOBODY = 12_345


@pytest.fixture(autouse=True)
def whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """All refusals are decided: the database has to find none of them."""

    def split(self: Writer, commands: object, works: object) -> None:
        pytest.fail("the database refused a batch")

    monkeypatch.setattr(Writer, "_run_one_by_one", split)


@pytest.fixture
def player(writer: InProcessLink) -> Wallet:
    """With 100 USDC, and nothing told so far."""
    wallet = factories.funded_wallet(writer, usdc=100)
    writer.told.clear()
    return wallet


def parts(wallet: Wallet) -> tuple[int, int]:
    wallet.refresh_from_db()
    return wallet.balance_micros, wallet.held_micros


def entries(kind: str) -> list[tuple[Any, ...]]:
    fields = ("debit_wallet", "credit_wallet", "amount_micros", "reference")
    return list(LedgerEntry.objects.filter(kind=kind).order_by("id").values_list(*fields))


def balance_told(wallet: Wallet) -> Event:
    """What its owner hears of the wallet as it is now."""
    wallet.refresh_from_db()
    data = {
        "address": wallet.address,
        "balance_micros": wallet.balance_micros,
        "held_micros": wallet.held_micros,
        "open_stake_micros": wallet.open_stake_micros,
        "frozen": wallet.frozen,
    }
    return Event(wallet.pk, "wallet.balance", wallet.cursor, wallet.balance_micros, data)


def field_refused(field: str) -> Refusal:
    return Refusal("invalid_request", {"field": field})


def done_id(outcome: Outcome) -> int:
    assert isinstance(outcome, Done), outcome
    return outcome.id


# Wallets


def test_open_wallet_when_asked_again_then_the_same_one_and_told_once(
    writer: InProcessLink,
) -> None:
    address = factories.address()
    first, second = writer.run([OpenWallet(address), OpenWallet(address)])
    wallet = Wallet.objects.get(address=address)
    assert first == second == Done(wallet.pk)
    assert (wallet.kind, wallet.balance_micros, wallet.cursor) == ("player", 0, 0)
    assert writer.told == [Event(wallet.pk, "wallet.changed", 0, 0, {})]
    assert writer.call(OpenWallet(address)) == Done(wallet.pk)
    assert len(writer.told) == 1


def test_wallet_when_it_changes_twice_then_the_news_are_numbered(
    writer: InProcessLink, player: Wallet
) -> None:
    player.refresh_from_db()
    writer.run([SetFrozen(player.pk, True), SetFrozen(player.pk, False)])
    cursors = [event.cursor for event in writer.told if event.name == "wallet.balance"]
    assert cursors == [player.cursor + 1, player.cursor + 2]


@pytest.mark.parametrize("frozen", [True, False])
def test_freeze_when_done_then_stored_told_and_forgotten(
    writer: InProcessLink, player: Wallet, frozen: bool
) -> None:
    writer.call(SetFrozen(player.pk, not frozen))
    writer.told.clear()
    assert writer.call(SetFrozen(player.pk, frozen)) == Done(player.pk)
    player.refresh_from_db()
    assert player.frozen is frozen
    assert writer.told == [balance_told(player), Event(player.pk, "wallet.changed", 0, 0, {})]


@pytest.mark.parametrize("wallet_id", [NOBODY, HOUSE, HOLD, CUSTODY])
def test_wallet_when_it_is_no_players_then_neither_frozen_nor_paid_into_nor_out_of(
    writer: InProcessLink, player: Wallet, wallet_id: int
) -> None:
    writer.call(FundHouse(5 * USDC, "test"))
    assert writer.call(SetFrozen(wallet_id, True)) == Refusal("not_found")
    assert writer.call(RequestDeposit(wallet_id, USDC)) == Refusal("not_found")
    assert writer.call(withdrawal(wallet_id, USDC)) == Refusal("unknown_wallet")
    assert not Wallet.objects.filter(frozen=True).exists()
    assert not Deposit.objects.filter(status="pending").exists()
    assert not Withdrawal.objects.exists()


@pytest.mark.parametrize("amount_micros", [0, -1])
def test_fund_house_when_nothing_or_less_then_refused(
    writer: InProcessLink, amount_micros: int
) -> None:
    assert writer.call(FundHouse(amount_micros, "a")) == field_refused("amount_micros")
    assert entries("FUNDING") == []


def test_fund_house_when_a_reference_comes_again_then_the_same_entry(
    writer: InProcessLink,
) -> None:
    first, again, other = writer.run([FundHouse(1, "a"), FundHouse(7, "a"), FundHouse(2, "b")])
    assert first == again == writer.call(FundHouse(1, "a")) != other
    assert entries("FUNDING") == [(CUSTODY, HOUSE, 1, "a"), (CUSTODY, HOUSE, 2, "b")]
    assert done_id(other) == LedgerEntry.objects.get(reference="b").pk
    assert Wallet.objects.get(pk=HOUSE).balance_micros == 3
    assert Wallet.objects.get(pk=CUSTODY).balance_micros == -3


def test_fund_house_when_an_adjustment_has_its_reference_then_funded_all_the_same(
    writer: InProcessLink, player: Wallet
) -> None:
    adjusted = done_id(writer.call(Adjust(player.pk, HOUSE, 1, "a")))
    assert done_id(writer.call(FundHouse(2, "a"))) != adjusted
    assert entries("FUNDING") == [(CUSTODY, HOUSE, 2, "a")]


# Deposits


@pytest.mark.parametrize("amount_micros", [-1, 0, LIMITS.deposit_max_micros + 1])
def test_deposit_when_out_of_bounds_then_refused(
    writer: InProcessLink, player: Wallet, amount_micros: int
) -> None:
    outcome = writer.call(RequestDeposit(player.pk, amount_micros))
    assert outcome == field_refused("amount_micros")


@pytest.mark.parametrize("amount_micros", [1, LIMITS.deposit_max_micros])
def test_deposit_when_at_a_bound_then_pending_and_no_money_moved(
    writer: InProcessLink, player: Wallet, now: ManualClock, amount_micros: int
) -> None:
    deposit_id = done_id(writer.call(RequestDeposit(player.pk, amount_micros)))
    deposit = Deposit.objects.get(pk=deposit_id)
    assert (deposit.wallet_id, deposit.amount_micros) == (player.pk, amount_micros)
    assert (deposit.status, deposit.completed_at) == ("pending", None)
    assert clock.to_us(deposit.created_at) == now.us
    assert parts(player) == (100 * USDC, 0)
    assert writer.told == []


def confirmed(player: Wallet, event_id: str = "e", **changes: Any) -> CustodyReport:
    fields: dict[str, Any] = {
        "event_id": event_id,
        "type": "deposit.confirmed",
        "reference": "transfer",
        "address": player.address,
        "amount_micros": 7,
    }
    return CustodyReport(**(fields | changes))


def test_confirmed_when_it_answers_a_deposit_then_credited_what_arrived(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    deposit_id = done_id(writer.call(RequestDeposit(player.pk, 9)))
    now.advance(1)
    report = confirmed(player, reference=str(deposit_id))
    assert writer.call(report) == Reported("applied")
    deposit = Deposit.objects.get(pk=deposit_id)
    assert (deposit.status, deposit.amount_micros) == ("completed", 7)
    assert deposit.completed_at is not None
    assert clock.to_us(deposit.completed_at) == now.us == clock.to_us(deposit.created_at) + USDC
    assert entries("DEPOSIT")[1:] == [(CUSTODY, player.pk, 7, f"deposit:{deposit_id}")]
    assert parts(player) == (100 * USDC + 7, 0)
    assert writer.told == [balance_told(player)]


def test_confirmed_when_nobody_asked_for_it_then_credited_as_a_new_deposit(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    assert writer.call(confirmed(player)) == Reported("applied")
    deposit = Deposit.objects.latest("id")
    assert (deposit.wallet_id, deposit.amount_micros) == (player.pk, 7)
    assert deposit.status == "completed"
    assert deposit.completed_at is not None
    assert clock.to_us(deposit.completed_at) == clock.to_us(deposit.created_at) == now.us
    assert parts(player) == (100 * USDC + 7, 0)


def test_report_when_taken_then_kept_whole(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    writer.run([confirmed(player), confirmed(player, "f", address=ELSEWHERE, amount_micros=8)])
    kept = [
        model_to_dict(row, exclude=["id"])
        for row in CustodyEvent.objects.filter(event_id__in=["e", "f"]).order_by("id")
    ]
    same = {
        "type": "deposit.confirmed",
        "reference": "transfer",
        "created_at": clock.from_us(now.us),
    }
    assert kept == [
        {
            "event_id": "e",
            "address": player.address,
            "amount_micros": 7,
            "outcome": "applied",
        }
        | same,
        {"event_id": "f", "address": ELSEWHERE, "amount_micros": 8, "outcome": "unmatched"} | same,
    ]


@pytest.mark.parametrize("same_batch", [True, False])
def test_event_when_told_again_then_repeated_and_kept_once(
    writer: InProcessLink, player: Wallet, same_batch: bool
) -> None:
    told = [confirmed(player), confirmed(player, reference="other")]
    outcomes = writer.run(told) if same_batch else [writer.call(report) for report in told]
    assert outcomes == [Reported("applied"), Reported("repeated")]
    assert CustodyEvent.objects.filter(event_id="e").count() == 1
    assert parts(player) == (100 * USDC + 7, 0)


@pytest.mark.parametrize("same_batch", [True, False])
def test_transfer_when_told_under_another_event_then_unmatched_and_moves_nothing(
    writer: InProcessLink, player: Wallet, same_batch: bool
) -> None:
    told = [confirmed(player), confirmed(player, "f")]
    outcomes = writer.run(told) if same_batch else [writer.call(report) for report in told]
    assert outcomes == [Reported("applied"), Reported("unmatched")]
    assert parts(player) == (100 * USDC + 7, 0)


@pytest.mark.parametrize("same_batch", [True, False])
def test_transfers_when_without_references_then_each_is_its_own(
    writer: InProcessLink, player: Wallet, same_batch: bool
) -> None:
    told = [confirmed(player, event_id, reference="") for event_id in "ef"]
    outcomes = writer.run(told) if same_batch else [writer.call(report) for report in told]
    assert outcomes == [Reported("applied")] * 2
    assert parts(player) == (100 * USDC + 14, 0)


def test_transfer_when_it_was_unmatched_before_then_applied_once_it_fits(
    writer: InProcessLink, player: Wallet
) -> None:
    assert writer.call(confirmed(player, address=ELSEWHERE)) == Reported("unmatched")
    assert writer.call(confirmed(player, "f")) == Reported("applied")


@pytest.mark.parametrize(("amount_micros", "outcome"), [(-1, "no"), (0, "no"), (1, "applied")])
def test_confirmed_when_nothing_arrived_then_unmatched(
    writer: InProcessLink, player: Wallet, amount_micros: int, outcome: str
) -> None:
    expected = "applied" if outcome == "applied" else "unmatched"
    assert writer.call(confirmed(player, amount_micros=amount_micros)).outcome == expected
    assert parts(player) == (100 * USDC + (1 if outcome == "applied" else 0), 0)


def test_confirmed_when_the_deposit_is_anothers_then_unmatched_and_left_pending(
    writer: InProcessLink, player: Wallet
) -> None:
    other = factories.funded_wallet(writer, usdc=1)
    deposit_id = done_id(writer.call(RequestDeposit(other.pk, 7)))
    report = confirmed(player, reference=str(deposit_id))
    assert writer.call(report) == Reported("unmatched")
    assert Deposit.objects.get(pk=deposit_id).status == "pending"
    assert (parts(player), parts(other)) == ((100 * USDC, 0), (USDC, 0))


def test_confirmed_when_the_deposit_is_credited_already_then_unmatched(
    writer: InProcessLink, player: Wallet
) -> None:
    """It was made by a transfer under another reference."""
    made = Deposit.objects.get(wallet=player)
    assert writer.call(confirmed(player, reference=str(made.pk))) == Reported("unmatched")
    assert parts(player) == (100 * USDC, 0)


def test_report_when_of_an_unknown_type_then_refused_and_not_kept(
    writer: InProcessLink, player: Wallet
) -> None:
    report = confirmed(player, type="deposit.lost")
    assert writer.call(report) == field_refused("type")
    assert not CustodyEvent.objects.filter(event_id="e").exists()


# Withdrawals


def withdrawal(wallet_id: int, amount_micros: int, **changes: Any) -> RequestWithdrawal:
    fields: dict[str, Any] = {
        "wallet_id": wallet_id,
        "amount_micros": amount_micros,
        "to_address": ELSEWHERE,
        "nonce": "ab" * 16,
        "timestamp": 1_764_000_000,
        "signature": bytes(range(65)),
    }
    return RequestWithdrawal(**(fields | changes))


@pytest.fixture
def held(writer: InProcessLink, player: Wallet, now: ManualClock) -> Withdrawal:
    """40 of the player's 100 USDC on their way elsewhere, and the day that this takes is over."""
    row_id = done_id(writer.call(withdrawal(player.pk, 40 * USDC)))
    now.advance(LIMITS.withdrawal_new_address_s)
    writer.told.clear()
    return Withdrawal.objects.get(pk=row_id)


def ended(player: Wallet, row: Withdrawal, how: str, **changes: Any) -> CustodyReport:
    fields = {
        "type": f"withdrawal.{how}",
        "reference": str(row.pk),
        "address": ELSEWHERE,
        "amount_micros": 40 * USDC,
    }
    return confirmed(player, **(fields | changes))


def test_withdraw_when_asked_for_then_held_as_it_was_signed(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    row_id = done_id(writer.call(withdrawal(player.pk, 40 * USDC)))
    row = Withdrawal.objects.get(pk=row_id)
    assert (row.wallet_id, row.amount_micros, row.to_address) == (player.pk, 40 * USDC, ELSEWHERE)
    assert (row.nonce.hex, row.timestamp) == ("ab" * 16, 1_764_000_000)
    assert (bytes(row.signature), row.status) == (bytes(range(65)), "held")
    assert clock.to_us(row.created_at) == clock.to_us(row.changed_at) == now.us
    wait_us = LIMITS.withdrawal_new_address_s * clock.US_PER_S
    assert clock.to_us(row.approve_after) == now.us + wait_us
    assert entries("HOLD") == [(player.pk, HOLD, 40 * USDC, f"withdrawal:{row_id}")]
    assert parts(player) == (60 * USDC, 40 * USDC)
    assert Wallet.objects.get(pk=HOLD).balance_micros == 40 * USDC
    assert writer.told == [balance_told(player)]


def test_withdraw_when_to_the_wallets_own_address_then_it_need_not_wait(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    assert player.address is not None
    writer.call(withdrawal(player.pk, 1, to_address=player.address))
    assert clock.to_us(Withdrawal.objects.get().approve_after) == now.us


@pytest.mark.parametrize("amount_micros", [0, -1])
def test_withdraw_when_nothing_or_less_then_refused(
    writer: InProcessLink, player: Wallet, amount_micros: int
) -> None:
    outcome = writer.call(withdrawal(player.pk, amount_micros))
    assert outcome == field_refused("amount_micros")
    assert parts(player) == (100 * USDC, 0)


@pytest.mark.parametrize("amount_micros", [1, 100 * USDC])
def test_withdraw_when_the_least_or_all_of_it_then_held(
    writer: InProcessLink, player: Wallet, amount_micros: int
) -> None:
    assert isinstance(writer.call(withdrawal(player.pk, amount_micros)), Done)
    assert parts(player) == (100 * USDC - amount_micros, amount_micros)


def test_withdraw_when_a_micro_more_than_there_is_then_refused_with_the_balance(
    writer: InProcessLink, player: Wallet
) -> None:
    outcome = writer.call(withdrawal(player.pk, 100 * USDC + 1))
    assert outcome == Refusal("insufficient_funds", {"balance_micros": 100 * USDC})
    assert parts(player) == (100 * USDC, 0)
    assert not Withdrawal.objects.exists()


def test_withdraw_when_several_share_a_batch_then_never_more_than_there_is(
    writer: InProcessLink, player: Wallet
) -> None:
    commands = [withdrawal(player.pk, 40 * USDC, nonce=f"{n:032x}") for n in range(3)]
    assert isinstance(writer.run(commands)[1], Done)
    assert parts(player) == (20 * USDC, 80 * USDC)
    assert LedgerEntry.objects.filter(kind="HOLD").count() == 2


def test_withdraw_when_frozen_then_refused(writer: InProcessLink, player: Wallet) -> None:
    writer.call(SetFrozen(player.pk, True))
    assert writer.call(withdrawal(player.pk, 1)) == Refusal("wallet_frozen")


@pytest.mark.parametrize("same_batch", [True, False])
def test_withdraw_when_the_nonce_has_one_then_refused_and_held_once(
    writer: InProcessLink, player: Wallet, same_batch: bool
) -> None:
    other = factories.funded_wallet(writer, usdc=100)
    told = [withdrawal(player.pk, 1), withdrawal(player.pk, 2), withdrawal(other.pk, 3)]
    outcomes = writer.run(told) if same_batch else [writer.call(command) for command in told]
    assert outcomes[1] == Refusal("nonce_reused", message="This nonce already has a withdrawal.")
    assert isinstance(outcomes[2], Done)  # a nonce is its wallet's own
    assert (parts(player), parts(other)) == ((100 * USDC - 1, 1), (100 * USDC - 3, 3))


def test_withdraw_when_two_wallets_use_nonces_again_then_both_are_refused(
    writer: InProcessLink, player: Wallet
) -> None:
    other = factories.funded_wallet(writer, usdc=100)
    commands = [withdrawal(player.pk, 1), withdrawal(other.pk, 1)]
    assert all(isinstance(outcome, Done) for outcome in writer.run([*commands]))
    refused = Refusal("nonce_reused", message="This nonce already has a withdrawal.")
    assert writer.run([*commands]) == [refused, refused]


def test_cancel_when_held_then_released_once(
    writer: InProcessLink, player: Wallet, held: Withdrawal, now: ManualClock
) -> None:
    now.advance(1)
    cancel = CancelWithdrawal(player.pk, held.pk)
    assert writer.run([cancel, cancel]) == [Done(held.pk)] * 2
    assert_released(player, held, "cancelled", now)
    assert writer.told == [balance_told(player)]
    assert writer.call(cancel) == Done(held.pk)
    assert len(writer.told) == 1


def test_reject_when_held_then_released_once(
    writer: InProcessLink, player: Wallet, held: Withdrawal, now: ManualClock
) -> None:
    now.advance(1)
    reject = RejectWithdrawal(held.pk, "two operators", "why")
    assert writer.run([reject, reject]) == [Done(held.pk)] * 2
    assert_released(player, held, "rejected", now)
    assert writer.call(reject) == Done(held.pk)
    assert entries("RELEASE") == [(HOLD, player.pk, 40 * USDC, f"withdrawal:{held.pk}")]


def assert_released(player: Wallet, row: Withdrawal, status: str, now: ManualClock) -> None:
    row.refresh_from_db()
    assert (row.status, clock.to_us(row.changed_at)) == (status, now.us)
    assert entries("RELEASE") == [(HOLD, player.pk, 40 * USDC, f"withdrawal:{row.pk}")]
    assert parts(player) == (100 * USDC, 0)
    assert Wallet.objects.get(pk=HOLD).balance_micros == 0


def test_withdrawal_when_there_is_none_then_not_found(
    writer: InProcessLink, player: Wallet, held: Withdrawal
) -> None:
    other = factories.funded_wallet(writer, usdc=1)
    for command in (
        CancelWithdrawal(player.pk, NOBODY),
        CancelWithdrawal(other.pk, held.pk),
        RejectWithdrawal(NOBODY, "two operators", "why"),
        ApproveWithdrawal(NOBODY, "two operators"),
        MarkSent(NOBODY),
    ):
        assert writer.call(command) == Refusal("not_found"), command
    held.refresh_from_db()
    assert held.status == "held"


def steps(row: Withdrawal, player: Wallet) -> dict[str, Any]:
    return {
        "cancelled": CancelWithdrawal(player.pk, row.pk),
        "rejected": RejectWithdrawal(row.pk, "two operators", "why"),
        "approved": ApproveWithdrawal(row.pk, "two operators"),
        "sent": MarkSent(row.pk),
    }


@pytest.mark.parametrize(
    ("way", "refused"),
    [
        ([], ["sent"]),
        (["approved"], ["cancelled", "rejected"]),
        (["approved", "sent"], ["cancelled", "rejected", "approved"]),
        (["cancelled"], ["rejected", "approved", "sent"]),
        (["rejected"], ["cancelled", "approved", "sent"]),
    ],
)
def test_withdrawal_when_a_step_would_not_be_forward_then_refused_with_its_state(
    writer: InProcessLink, player: Wallet, held: Withdrawal, way: list[str], refused: list[str]
) -> None:
    commands = steps(held, player)
    for step in way:
        assert writer.call(commands[step]) == Done(held.pk)
    status = way[-1] if way else "held"
    before = parts(player)
    for step in refused:
        assert writer.call(commands[step]) == Refusal(
            "invalid_request", {"status": status}, f"The withdrawal is {status} already."
        )
    held.refresh_from_db()
    assert (held.status, parts(player)) == (status, before)


def test_withdrawal_when_a_step_comes_again_then_done_and_unchanged(
    writer: InProcessLink, player: Wallet, held: Withdrawal, now: ManualClock
) -> None:
    for command, status in (
        (ApproveWithdrawal(held.pk, "x"), "approved"),
        (MarkSent(held.pk), "sent"),
    ):
        now.advance(1)
        changed_us = now.us
        assert writer.call(command) == Done(held.pk)
        now.advance(1)
        assert writer.call(command) == Done(held.pk)
        held.refresh_from_db()
        assert (held.status, clock.to_us(held.changed_at)) == (status, changed_us)
    assert parts(player) == (60 * USDC, 40 * USDC)


@pytest.mark.parametrize("way", [["approved"], ["approved", "sent"]])
@pytest.mark.parametrize("how", ["completed", "failed"])
def test_ended_when_on_its_way_then_the_hold_ends_once(
    writer: InProcessLink,
    player: Wallet,
    held: Withdrawal,
    now: ManualClock,
    way: list[str],
    how: str,
) -> None:
    for step in way:
        writer.call(steps(held, player)[step])
    now.advance(1)
    assert writer.call(ended(player, held, how)) == Reported("applied")
    assert writer.told == [balance_told(player)]
    if how == "failed":
        assert_released(player, held, "failed", now)
    else:
        held.refresh_from_db()
        assert (held.status, clock.to_us(held.changed_at)) == ("completed", now.us)
        assert entries("WITHDRAWAL") == [(HOLD, CUSTODY, 40 * USDC, f"withdrawal:{held.pk}")]
        assert parts(player) == (60 * USDC, 0)
        assert Wallet.objects.get(pk=HOLD).balance_micros == 0
        assert Wallet.objects.get(pk=CUSTODY).balance_micros == -60 * USDC
    for other in ("completed", "failed"):
        report = ended(player, held, other, event_id=f"after {other}")
        assert writer.call(report) == Reported("unmatched")
    assert LedgerEntry.objects.filter(reference=f"withdrawal:{held.pk}").count() == 2


@pytest.mark.parametrize("how", ["completed", "failed"])
@pytest.mark.parametrize("way", [[], ["cancelled"], ["rejected"]])
def test_ended_when_it_is_not_on_its_way_then_unmatched(
    writer: InProcessLink, player: Wallet, held: Withdrawal, way: list[str], how: str
) -> None:
    for step in way:
        writer.call(steps(held, player)[step])
    before = parts(player)
    assert writer.call(ended(player, held, how)) == Reported("unmatched")
    assert parts(player) == before
    assert entries("WITHDRAWAL") == []


@pytest.mark.parametrize("how", ["completed", "failed"])
@pytest.mark.parametrize(
    "changes",
    [
        {"reference": str(NOBODY)},
        {"reference": "no number"},
        {"reference": ""},
        {"address": "0x" + "dd" * 20},
        {"amount_micros": 40 * USDC - 1},
        {"amount_micros": 40 * USDC + 1},
    ],
)
def test_ended_when_the_event_disagrees_then_unmatched_and_still_on_its_way(
    writer: InProcessLink, player: Wallet, held: Withdrawal, changes: dict[str, Any], how: str
) -> None:
    writer.call(ApproveWithdrawal(held.pk, "two operators"))
    assert writer.call(ended(player, held, how, **changes)) == Reported("unmatched")
    held.refresh_from_db()
    assert held.status == "approved"
    assert parts(player) == (60 * USDC, 40 * USDC)


def test_withdrawals_when_two_end_in_one_batch_then_each_by_its_own_event(
    writer: InProcessLink, player: Wallet, held: Withdrawal, now: ManualClock
) -> None:
    other_id = done_id(writer.call(withdrawal(player.pk, 3, nonce="cd" * 16)))
    now.advance(LIMITS.withdrawal_new_address_s)
    other = Withdrawal.objects.get(pk=other_id)
    writer.run([ApproveWithdrawal(held.pk, "x"), ApproveWithdrawal(other_id, "x")])
    reports = [
        ended(player, held, "completed"),
        ended(player, other, "failed", event_id="f", amount_micros=3),
    ]
    assert writer.run(reports) == [Reported("applied")] * 2
    assert parts(player) == (60 * USDC, 0)
    statuses = Withdrawal.objects.order_by("id").values_list("status", flat=True)
    assert list(statuses) == ["completed", "failed"]


# What people decide


def test_approve_when_the_address_is_new_then_not_before_its_day_is_over(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    row_id = done_id(writer.call(withdrawal(player.pk, 40 * USDC)))
    now.advance(LIMITS.withdrawal_new_address_s - 1)
    after = clock.iso_ms(clock.to_us(Withdrawal.objects.get().approve_after))
    refused = Refusal("forbidden", {"approve_after": after}, "Its address is too new.")
    assert writer.call(ApproveWithdrawal(row_id, "ann", "ben")) == refused
    assert Withdrawal.objects.get().status == "held"
    now.advance(1)
    assert writer.call(ApproveWithdrawal(row_id, "policy")) == Done(row_id)


@pytest.mark.parametrize("also_by", ["", "ann"])
def test_approve_when_it_is_large_then_one_person_is_not_enough(
    writer: InProcessLink, now: ManualClock, also_by: str
) -> None:
    amount_micros = LIMITS.withdrawal_approval_micros + 1
    rich = factories.funded_wallet(writer, usdc=LIMITS.withdrawal_approval_micros // USDC + 1)
    row_id = done_id(writer.call(withdrawal(rich.pk, amount_micros, to_address=rich.address)))
    refused = Refusal("forbidden", message="It takes two people to approve so much.")
    assert writer.call(ApproveWithdrawal(row_id, "ann", also_by)) == refused
    assert writer.call(ApproveWithdrawal(row_id, "ann", "ben")) == Done(row_id)
    note = AuditEntry.objects.get(action="withdrawal.state", after__status="approved")
    assert (note.actor, note.subject) == ("ann, ben", f"withdrawal:{row_id}")
    assert note.before == {"status": "held"}


def test_approve_when_it_is_as_large_as_one_may_approve_then_one_person_does(
    writer: InProcessLink, now: ManualClock
) -> None:
    amount_micros = LIMITS.withdrawal_approval_micros
    rich = factories.funded_wallet(writer, usdc=amount_micros // USDC)
    row_id = done_id(writer.call(withdrawal(rich.pk, amount_micros, to_address=rich.address)))
    assert writer.call(ApproveWithdrawal(row_id, "ann")) == Done(row_id)


def test_approve_when_its_wallet_is_frozen_then_it_waits_until_it_is_not(
    writer: InProcessLink, player: Wallet, held: Withdrawal
) -> None:
    writer.call(SetFrozen(player.pk, True, "ann", "stolen key"))
    assert writer.call(ApproveWithdrawal(held.pk, "ann")) == Refusal("wallet_frozen")
    writer.call(SetFrozen(player.pk, False, "ann, ben", "key is back"))
    assert writer.call(ApproveWithdrawal(held.pk, "ann")) == Done(held.pk)
    notes = AuditEntry.objects.filter(action="wallet.frozen").order_by("id")
    assert [(note.actor, note.reason, note.after) for note in notes] == [
        ("ann", "stolen key", {"frozen": True}),
        ("ann, ben", "key is back", {"frozen": False}),
    ]


def test_adjust_when_the_house_gives_and_takes_then_once_a_reference(
    writer: InProcessLink, player: Wallet
) -> None:
    factories.funded_house(writer, usdc=50)
    writer.told.clear()
    give = Adjust(HOUSE, player.pk, 30 * USDC, "proposal:1", "ann", "ben", "lost a bet wrongly")
    first, second = writer.run([give, give])
    assert first == second == Done(done_id(first))
    assert writer.call(give) == first
    assert parts(player) == (130 * USDC, 0)
    assert writer.told == [balance_told(player)]
    take = Adjust(player.pk, HOUSE, 130 * USDC, "proposal:2", "ann", "ben", "back")
    assert isinstance(writer.call(take), Done)
    assert parts(player) == (0, 0)
    assert Wallet.objects.get(pk=HOUSE).balance_micros == 150 * USDC
    assert entries("ADJUSTMENT") == [
        (HOUSE, player.pk, 30 * USDC, "proposal:1"),
        (player.pk, HOUSE, 130 * USDC, "proposal:2"),
    ]
    note = AuditEntry.objects.get(subject="proposal:1")
    assert (note.action, note.actor) == ("balance.adjusted", "ann, ben")
    assert note.reason == "lost a bet wrongly"


def test_adjust_when_profit_is_taken_then_what_was_promised_stays(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.funded_house(writer, usdc=50)
    monkeypatch.setattr(writer.writer._by_kind[Adjust], "_promised_micros", lambda: 20 * USDC)
    refused = Refusal("insufficient_funds", {"room_micros": 30 * USDC})
    assert writer.call(Adjust(HOUSE, CUSTODY, 30 * USDC + 1, "a")) == refused
    assert isinstance(writer.call(Adjust(HOUSE, CUSTODY, 30 * USDC, "b")), Done)
    assert Wallet.objects.get(pk=HOUSE).balance_micros == 20 * USDC
    assert Wallet.objects.get(pk=CUSTODY).balance_micros == -20 * USDC
    none = Refusal("insufficient_funds", {"room_micros": 0})
    assert writer.call(Adjust(HOUSE, CUSTODY, 1, "c")) == none
    poor = factories.funded_wallet(writer, usdc=1)  # promises are the house's
    assert isinstance(writer.call(Adjust(poor.pk, HOUSE, USDC, "d")), Done)


@pytest.mark.parametrize("amount_micros", [0, -1])
def test_adjust_when_nothing_or_less_then_refused(
    writer: InProcessLink, player: Wallet, amount_micros: int
) -> None:
    outcome = writer.call(Adjust(HOUSE, player.pk, amount_micros, "a"))
    assert outcome == field_refused("amount_micros")


def test_adjust_when_it_is_not_between_house_and_player_nor_profit_then_not_found(
    writer: InProcessLink, player: Wallet
) -> None:
    other = factories.funded_wallet(writer, usdc=1)
    for debit, credit in (
        (player.pk, other.pk),
        (CUSTODY, player.pk),
        (CUSTODY, HOUSE),
        (HOLD, player.pk),
        (player.pk, CUSTODY),
        (HOUSE, HOUSE),
        (HOUSE, NOBODY),
        (NOBODY, HOUSE),
    ):
        assert writer.call(Adjust(debit, credit, 1, "a")) == Refusal("not_found"), (debit, credit)
    assert entries("ADJUSTMENT") == []


# The handler


def test_transfers_when_the_batch_cannot_be_committed_then_nothing_kept_and_nothing_told(
    writer: InProcessLink, player: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(_: object) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("wallet.book.Book.persist", disk_full)
        writer.run([withdrawal(player.pk, 1), OpenWallet(ELSEWHERE)])
    assert writer.told == []
    assert parts(player) == (100 * USDC, 0)
    assert not Withdrawal.objects.exists()


def test_handler_when_it_starts_then_its_largest_id_is_that_of_all_its_tables(
    writer: InProcessLink, player: Wallet
) -> None:
    handler = TransferHandler(promised_micros)
    assert handler.largest_id() == CustodyEvent.objects.latest("id").pk
    deposit_id = done_id(writer.call(RequestDeposit(player.pk, 1)))
    assert handler.largest_id() == deposit_id
    row_id = done_id(writer.call(withdrawal(player.pk, 1)))
    assert handler.largest_id() == row_id
    assert handler.due(0) == []


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("0007", 7),
        (str(MAX_INT), MAX_INT),
        (str(MAX_INT + 1), None),
        ("9" * 19, None),
        ("0" * 19 + "7", None),
        ("", None),
        ("-7", None),
        ("7.0", None),
        ("deposit", None),
        ("\u0667", None),  # a digit, but not ours
        ("\u00b2", None),
    ],
)
def test_reference_when_it_is_one_of_our_ids_then_its_number(
    reference: str, number: int | None
) -> None:
    report = CustodyReport("event-1", "deposit.confirmed", reference, ELSEWHERE, USDC)
    assert report.row_id == number
