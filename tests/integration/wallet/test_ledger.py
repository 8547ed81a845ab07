"""The ledger through the writer: worked examples, balances after every step."""

import pytest
from django.db import DatabaseError, connection, transaction

from taptrading.errors import Refusal
from tests import factories
from tests.factories import USDC
from tests.fakes import InProcessLink
from wallet import seals
from wallet.ids import CUSTODY, HOLD, HOUSE
from wallet.models import LedgerEntry, Seal, Wallet, Withdrawal
from wallet.protocol import Done
from wallet.transfers import (
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
)
from wallet.triggers import TRIGGERS


def balances(*wallet_ids: int) -> list[int]:
    found = dict(Wallet.objects.values_list("id", "balance_micros"))
    return [found[wallet_id] for wallet_id in wallet_ids]


def withdraw(wallet: Wallet, amount: int, nonce: str = "0" * 32, to: str = "") -> RequestWithdrawal:
    return RequestWithdrawal(
        wallet.pk, amount, to or str(wallet.address), nonce, 1_764_000_000, bytes(65)
    )


def test_open_wallet_twice_names_the_same_wallet(writer: InProcessLink) -> None:
    first, second = writer.run([OpenWallet("0x" + "a" * 40), OpenWallet("0x" + "a" * 40)])
    assert first == second == writer.call(OpenWallet("0x" + "a" * 40))
    assert Wallet.objects.filter(kind="player").count() == 1


def test_deposit_credits_once_when_the_event_comes_twice(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=1)
    deposit = writer.call(RequestDeposit(wallet.pk, 7 * USDC))
    event = CustodyReport("e-1", "deposit.confirmed", str(deposit.id), wallet.address, 7 * USDC)
    assert writer.run([event, event]) == [Reported("applied"), Reported("repeated")]
    assert writer.call(event) == Reported("repeated")
    assert balances(wallet.pk, CUSTODY) == [8 * USDC, -8 * USDC]


def test_deposit_credits_once_when_two_events_name_it(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=1)
    deposit = writer.call(RequestDeposit(wallet.pk, 7 * USDC))
    for event_id, expected in (("e-1", "applied"), ("e-2", "unmatched")):
        event = CustodyReport(
            event_id, "deposit.confirmed", str(deposit.id), wallet.address, 7 * USDC
        )
        assert writer.call(event) == Reported(expected)
    assert balances(wallet.pk) == [8 * USDC]


def test_withdrawal_moves_through_hold_to_custody(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=100)
    done = writer.call(withdraw(wallet, 30 * USDC))
    assert balances(wallet.pk, HOLD, CUSTODY) == [70 * USDC, 30 * USDC, -100 * USDC]
    wallet.refresh_from_db()
    assert wallet.held_micros == 30 * USDC
    assert writer.call(ApproveWithdrawal(done.id, "policy")) == done
    assert writer.call(MarkSent(done.id)) == done
    event = CustodyReport("w-1", "withdrawal.completed", str(done.id), wallet.address, 30 * USDC)
    assert writer.run([event, event]) == [Reported("applied"), Reported("repeated")]
    assert balances(wallet.pk, HOLD, CUSTODY) == [70 * USDC, 0, -70 * USDC]
    wallet.refresh_from_db()
    assert wallet.held_micros == 0
    assert Withdrawal.objects.get().status == "completed"


def test_withdrawal_failed_gives_the_hold_back_once(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=100)
    done = writer.call(withdraw(wallet, 30 * USDC))
    writer.run([ApproveWithdrawal(done.id, "policy"), MarkSent(done.id)])
    for event_id, expected in (("w-1", "applied"), ("w-2", "unmatched")):
        event = CustodyReport(
            event_id, "withdrawal.failed", str(done.id), wallet.address, 30 * USDC
        )
        assert writer.call(event) == Reported(expected)
    completed = CustodyReport(
        "w-3", "withdrawal.completed", str(done.id), wallet.address, 30 * USDC
    )
    assert writer.call(completed) == Reported("unmatched")
    assert balances(wallet.pk, HOLD, CUSTODY) == [100 * USDC, 0, -100 * USDC]


def test_withdrawal_event_that_disagrees_moves_nothing(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=100)
    done = writer.call(withdraw(wallet, 30 * USDC))
    writer.run([ApproveWithdrawal(done.id, "policy"), MarkSent(done.id)])
    event = CustodyReport("w-1", "withdrawal.completed", str(done.id), wallet.address, 29 * USDC)
    assert writer.call(event) == Reported("unmatched")
    assert balances(HOLD) == [30 * USDC]


def test_withdrawal_over_the_balance_leaves_no_row(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    outcomes = writer.run(
        [withdraw(wallet, 6 * USDC, "1" * 32), withdraw(wallet, 6 * USDC, "2" * 32)]
    )
    assert isinstance(outcomes[0], Done)
    assert outcomes[1] == Refusal("insufficient_funds", {"balance_micros": 4 * USDC})
    assert Withdrawal.objects.count() == 1
    assert balances(wallet.pk, HOLD) == [4 * USDC, 6 * USDC]


def test_withdrawal_with_a_used_nonce_is_refused(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    command = withdraw(wallet, 1 * USDC)
    first, second = writer.run([command, command])
    assert isinstance(first, Done)
    assert second.code == writer.call(command).code == "nonce_reused"
    assert balances(HOLD) == [1 * USDC]


def test_cancel_gives_back_while_held_and_not_after(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    held = writer.call(withdraw(wallet, 4 * USDC, "1" * 32))
    sent = writer.call(withdraw(wallet, 5 * USDC, "2" * 32))
    writer.run([ApproveWithdrawal(sent.id, "policy"), MarkSent(sent.id)])
    assert writer.call(CancelWithdrawal(wallet.pk, held.id)) == held
    assert writer.call(CancelWithdrawal(wallet.pk, held.id)) == held
    assert writer.call(CancelWithdrawal(wallet.pk, sent.id)).code == "invalid_request"
    assert writer.call(CancelWithdrawal(wallet.pk + 1, held.id)).code == "not_found"
    assert writer.call(RejectWithdrawal(sent.id, "ann", "late")).code == "invalid_request"
    assert balances(wallet.pk, HOLD) == [5 * USDC, 5 * USDC]


def test_frozen_wallet_cannot_withdraw(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    writer.call(SetFrozen(wallet.pk, True))
    assert writer.call(withdraw(wallet, USDC)).code == "wallet_frozen"
    writer.call(SetFrozen(wallet.pk, False))
    assert isinstance(writer.call(withdraw(wallet, USDC)), Done)


def test_fund_house_counts_a_reference_once(writer: InProcessLink) -> None:
    first, second = writer.run([FundHouse(5 * USDC, "demo"), FundHouse(5 * USDC, "demo")])
    assert first == second == writer.call(FundHouse(5 * USDC, "demo"))
    assert balances(HOUSE, CUSTODY) == [5 * USDC, -5 * USDC]


def test_every_batch_with_entries_extends_the_chain_of_seals(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    writer.run([withdraw(wallet, USDC, "1" * 32), withdraw(wallet, USDC, "2" * 32)])
    writer.call(SetFrozen(wallet.pk, True))  # no entry, no seal
    previous = seals.GENESIS
    for seal in Seal.objects.order_by("id"):
        entries = _entries(seal.first_entry_id, seal.last_entry_id)
        assert seal.entries == len(entries)
        assert bytes(seal.previous) == previous
        previous = seals.seal(previous, map(seals.leaf, entries))
        assert bytes(seal.seal) == previous
    assert Seal.objects.count() == 2


def _entries(first_id: int, last_id: int) -> list[seals.Entry]:
    columns = [name.removesuffix("_us") for name in seals.Entry._fields]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(columns)} FROM wallet_ledgerentry"
            " WHERE id BETWEEN %s AND %s ORDER BY id",
            [first_id, last_id],
        )
        return [seals.Entry(*row) for row in cursor.fetchall()]


def test_balances_after_form_an_unbroken_chain(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    writer.run([withdraw(wallet, USDC, "1" * 32), withdraw(wallet, 2 * USDC, "2" * 32)])
    running = 0
    for entry in LedgerEntry.objects.order_by("id"):
        if entry.credit_wallet_id == wallet.pk:
            running += entry.amount_micros
            assert entry.credit_balance_after_micros == running
        elif entry.debit_wallet_id == wallet.pk:
            running -= entry.amount_micros
            assert entry.debit_balance_after_micros == running
    assert balances(wallet.pk) == [running] == [7 * USDC]
    assert sum(Wallet.objects.values_list("balance_micros", flat=True)) == 0


@pytest.mark.parametrize("table", ["wallet_ledgerentry", "wallet_seal"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET created_at = 0", "DELETE FROM {}"])
def test_ledger_is_append_only(writer: InProcessLink, table: str, statement: str) -> None:
    factories.funded_wallet(writer, usdc=10)
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(table))


def test_database_refuses_a_players_negative_balance(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    with pytest.raises(DatabaseError, match="wallet_balance_not_negative"), transaction.atomic():
        Wallet.objects.filter(pk=wallet.pk).update(balance_micros=-1)


def test_database_refuses_a_refund_beside_a_payout(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=10)
    common = {
        "debit_wallet_id": HOUSE,
        "credit_wallet_id": wallet.pk,
        "amount_micros": 1,
        "reference": "bet:1",
        "debit_balance_after_micros": 0,
        "credit_balance_after_micros": 0,
        "created_at": 0,
    }
    LedgerEntry.objects.create(id=1, kind="PAYOUT", **common)
    with pytest.raises(DatabaseError, match="ledger_once"), transaction.atomic():
        LedgerEntry.objects.create(id=2, kind="REFUND", **common)


def test_transfer_told_again_under_another_event_moves_nothing(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=1)
    for event_id, expected in (("a", "applied"), ("b", "unmatched")):
        event = CustodyReport(event_id, "deposit.confirmed", "0xabc", wallet.address, 5 * USDC)
        assert writer.call(event) == Reported(expected)
    both = [
        CustodyReport(event_id, "deposit.confirmed", "0xdef", wallet.address, 5 * USDC)
        for event_id in ("c", "d")
    ]
    assert writer.run(both) == [Reported("applied"), Reported("unmatched")]
    assert balances(wallet.pk) == [11 * USDC]


@pytest.mark.parametrize("reference", [str(2**63), "9" * 19, "٣", "-1", "x" * 100])
def test_event_with_a_reference_that_is_no_id_harms_nobody(
    writer: InProcessLink, reference: str
) -> None:
    wallet = factories.funded_wallet(writer, usdc=1)
    event = CustodyReport("e-1", "withdrawal.completed", reference, wallet.address, USDC)
    assert writer.call(event) == Reported("unmatched")


def test_command_that_the_database_cannot_hold_is_refused_alone(writer: InProcessLink) -> None:
    wallet = factories.funded_wallet(writer, usdc=1)
    outcomes = writer.run([CancelWithdrawal(wallet.pk, 2**70), OpenWallet("0x" + "e" * 40)])
    assert outcomes[0] == Refusal("dependency_unavailable")
    assert isinstance(outcomes[1], Done)


def test_every_trigger_is_there_after_all_migrations(db: None) -> None:
    """A later migration that rebuilds these tables would drop them silently."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        assert {name for (name,) in cursor.fetchall()} >= set(TRIGGERS)
    assert len(TRIGGERS) == 4
