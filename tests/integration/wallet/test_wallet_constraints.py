"""What the database itself refuses of the wallets' tables, should all other guards be gone."""

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from taptrading import clock
from tests import factories
from tests.factories import USDC
from tests.fakes import InProcessLink
from wallet.ids import HOUSE
from wallet.models import CustodyEvent, LedgerEntry, SessionKey, Wallet, Withdrawal
from wallet.protocol import Done
from wallet.transfers import (
    ApproveWithdrawal,
    CustodyReport,
    Reported,
    RequestDeposit,
    RequestWithdrawal,
)


@pytest.fixture
def player(writer: InProcessLink) -> Wallet:
    return factories.funded_wallet(writer, usdc=10)


def refuses(store: Any, **fields: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        store(**fields)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *((kind, kind) for kind in LedgerEntry.Kind.values),
        ("PAYOUT", "REFUND"),
        ("REFUND", "PAYOUT"),
        ("WITHDRAWAL", "RELEASE"),
        ("RELEASE", "WITHDRAWAL"),
    ],
)
def test_ledger_when_a_reference_has_an_outcome_then_no_other_one(
    player: Wallet, first: str, second: str
) -> None:
    common = {
        "debit_wallet_id": HOUSE,
        "credit_wallet_id": player.pk,
        "amount_micros": 1,
        "debit_balance_after_micros": 0,
        "credit_balance_after_micros": 0,
        "created_at": clock.now(),
    }
    LedgerEntry.objects.create(id=1, kind=first, reference="x:1", **common)
    refuses(LedgerEntry.objects.create, id=2, kind=second, reference="x:1", **common)
    LedgerEntry.objects.create(id=2, kind=second, reference="x:2", **common)


def test_withdrawal_when_its_nonce_has_one_then_the_database_refuses(player: Wallet) -> None:
    fields = {
        "wallet": player,
        "amount_micros": 1,
        "to_address": str(player.address),
        "timestamp": 0,
        "signature": bytes(65),
        "status": "held",
        **dict.fromkeys(("approve_after", "created_at", "changed_at"), clock.now()),
    }
    nonce = uuid.UUID(int=1)
    Withdrawal.objects.create(id=1, nonce=nonce, **fields)
    refuses(Withdrawal.objects.create, id=2, nonce=nonce, **fields)
    refuses(
        Withdrawal.objects.create, id=2, nonce=uuid.UUID(int=2), **fields | {"amount_micros": 0}
    )


def test_custody_event_when_it_is_stored_then_the_database_refuses_it_again(
    player: Wallet,
) -> None:
    fields = {
        "type": "deposit.confirmed",
        "address": str(player.address),
        "amount_micros": 1,
        "created_at": clock.now(),
    }
    make = CustodyEvent.objects.create
    make(id=1, event_id="a", reference="r", outcome="applied", **fields)
    refuses(make, id=2, event_id="a", reference="s", outcome="unmatched", **fields)
    refuses(make, id=2, event_id="b", reference="r", outcome="applied", **fields)
    make(id=2, event_id="b", reference="r", outcome="unmatched", **fields)


def test_session_key_when_it_has_used_its_total_then_the_database_refuses_more(
    player: Wallet,
) -> None:
    key = SessionKey.objects.create(
        id=1,
        wallet=player,
        address="0x" + "ab" * 20,
        label="phone",
        max_stake_micros=1,
        max_total_micros=5,
        used_micros=5,
        nonce=uuid.UUID(int=1),
        timestamp=0,
        signature=bytes(65),
        expires_at=clock.now(),
        created_at=clock.now(),
    )
    refuses(SessionKey.objects.filter(pk=key.pk).update, used_micros=6)


# References that name one thing in two spellings


def test_deposit_when_it_was_credited_under_another_spelling_of_its_id_then_not_again(
    writer: InProcessLink, player: Wallet
) -> None:
    deposit = writer.call(RequestDeposit(player.pk, 7 * USDC))
    assert isinstance(deposit, Done)
    for reference, expected in ((str(deposit.id), "applied"), (f"0{deposit.id}", "unmatched")):
        event = CustodyReport(
            f"e-{reference}", "deposit.confirmed", reference, str(player.address), 7 * USDC
        )
        assert writer.call(event) == Reported(expected)
    player.refresh_from_db()
    assert player.balance_micros == 17 * USDC


@pytest.mark.parametrize("kind", ["completed", "failed"])
def test_withdrawal_when_it_ended_under_another_spelling_of_its_id_then_not_again(
    writer: InProcessLink, player: Wallet, kind: str
) -> None:
    owner = str(player.address)
    done = writer.call(RequestWithdrawal(player.pk, 3 * USDC, owner, "0" * 32, 0, bytes(65)))
    assert isinstance(done, Done)
    writer.call(ApproveWithdrawal(done.id, "policy"))
    for reference, expected in ((str(done.id), "applied"), (f"0{done.id}", "unmatched")):
        event = CustodyReport(f"e-{reference}", f"withdrawal.{kind}", reference, owner, 3 * USDC)
        assert writer.call(event) == Reported(expected)
    player.refresh_from_db()
    back = 3 * USDC if kind == "failed" else 0
    assert (player.balance_micros, player.held_micros) == (7 * USDC + back, 0)
