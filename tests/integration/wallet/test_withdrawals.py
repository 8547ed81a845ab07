"""Withdrawals: two proofs to ask for one, one step at a time, and the books after each."""

import uuid
from typing import Any

import pytest

from taptrading import clock
from taptrading.errors import DependencyError
from taptrading.limits import LIMITS
from tests.fakes import InProcessLink, ManualClock
from wallet import backlog, custody, link, tasks, withdrawals
from wallet.ids import CUSTODY
from wallet.models import LedgerEntry, Wallet, Withdrawal
from wallet.transfers import ApproveWithdrawal, SetFrozen

USDC = 1_000_000


def refused(reply: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = reply.json()
    assert (reply.status_code, body["error"]) == (status, code), body
    return body


def status_of(trader: Any) -> str:
    return str(trader.get("withdrawals").json()["results"][0]["status"])


def parts(trader: Any) -> tuple[int, int]:
    wallet = trader.get("wallet").json()
    return wallet["balance_micros"] // USDC, wallet["held_micros"] // USDC


@pytest.fixture
def rich(trader: Any) -> Any:
    trader.deposit(100_000)
    return trader


def test_withdraw_then_held_then_sent_and_completed_once(rich: Any) -> None:
    reply = rich.post("withdrawals", rich.withdrawal(40 * USDC))
    assert reply.status_code == 202
    assert reply.json() == {
        "withdrawal_id": reply.json()["withdrawal_id"],
        "status": "held",
        "amount_micros": 40 * USDC,
        "to_address": rich.address,
        "created_at": "2025-11-24T16:00:00.000Z",
    }
    assert parts(rich) == (99_960, 40)

    tasks.advance_withdrawals()
    tasks.advance_withdrawals()

    assert status_of(rich) == "completed"
    assert parts(rich) == (99_960, 0)
    assert custody.local.holdings_micros() == 99_960 * USDC
    assert Wallet.objects.get(pk=CUSTODY).balance_micros == -99_960 * USDC
    assert LedgerEntry.objects.filter(kind="WITHDRAWAL").count() == 1


def test_withdraw_when_the_custodian_fails_then_released(rich: Any, now: ManualClock) -> None:
    body = rich.withdrawal(40 * USDC, to_address=custody.ZERO_ADDRESS)
    assert rich.post("withdrawals", body).status_code == 202
    now.advance(LIMITS.withdrawal_new_address_s)

    tasks.advance_withdrawals()
    tasks.advance_withdrawals()

    rich.sign_in()
    assert status_of(rich) == "failed"
    assert parts(rich) == (100_000, 0)
    assert custody.local.holdings_micros() == 100_000 * USDC


def test_withdraw_when_to_a_new_address_then_it_waits_a_day(rich: Any, now: ManualClock) -> None:
    rich.post("withdrawals", rich.withdrawal(USDC, to_address="0x" + "AB" * 20))
    now.advance(LIMITS.withdrawal_new_address_s - 1)
    tasks.advance_withdrawals()
    assert Withdrawal.objects.get().status == "held"
    now.advance(1)
    tasks.advance_withdrawals()
    assert Withdrawal.objects.get().status == "completed"
    assert Withdrawal.objects.get().to_address == "0x" + "ab" * 20


def test_withdraw_when_above_the_limit_then_people_decide(rich: Any, writer: InProcessLink) -> None:
    rich.post("withdrawals", rich.withdrawal(LIMITS.withdrawal_approval_micros + 1))
    tasks.advance_withdrawals()
    assert status_of(rich) == "held"
    writer.call(ApproveWithdrawal(Withdrawal.objects.get().pk, "ann", "ben"))
    tasks.advance_withdrawals()
    assert status_of(rich) == "completed"


@pytest.mark.parametrize("steps", [0, 1])
def test_withdraw_when_the_wallet_is_frozen_meanwhile_then_nothing_goes_out(
    rich: Any, writer: InProcessLink, steps: int
) -> None:
    rich.post("withdrawals", rich.withdrawal(40 * USDC))
    row = Withdrawal.objects.get()
    if steps:
        writer.call(ApproveWithdrawal(row.pk, "policy"))
    writer.call(SetFrozen(row.wallet_id, True, "ann", "stolen key"))
    tasks.advance_withdrawals()
    assert status_of(rich) == ["held", "approved"][steps]
    writer.call(SetFrozen(row.wallet_id, False, "ann, ben", "key is back"))
    tasks.advance_withdrawals()
    assert status_of(rich) == "completed"


def test_cancel_when_held_then_released_and_no_step_follows(rich: Any) -> None:
    withdrawal = rich.post("withdrawals", rich.withdrawal(40 * USDC)).json()
    reply = rich.delete(f"withdrawals/{withdrawal['withdrawal_id']}")
    assert (reply.status_code, reply.json()["status"]) == (202, "cancelled")
    assert parts(rich) == (100_000, 0)
    tasks.advance_withdrawals()
    assert status_of(rich) == "cancelled"


def test_cancel_when_completed_then_refused(rich: Any) -> None:
    withdrawal = rich.post("withdrawals", rich.withdrawal(40 * USDC)).json()
    tasks.advance_withdrawals()
    reply = rich.delete(f"withdrawals/{withdrawal['withdrawal_id']}")
    assert refused(reply, 400, "invalid_request")["detail"] == {"status": "completed"}


@pytest.mark.parametrize("name", ["0", "1", "x", "9" * 19, "9" * 30, "-1", "1.0", "٣"])
def test_cancel_when_there_is_no_such_id_then_not_found(rich: Any, name: str) -> None:
    refused(rich.delete(f"withdrawals/{name}"), 404, "not_found")


def test_cancel_when_of_another_then_not_found(rich: Any, stranger: Any) -> None:
    withdrawal = rich.post("withdrawals", rich.withdrawal(40 * USDC)).json()
    stranger.sign_in()
    refused(stranger.delete(f"withdrawals/{withdrawal['withdrawal_id']}"), 404, "not_found")
    assert stranger.get("withdrawals").json()["results"] == []


def test_withdraw_when_not_signed_in_then_unauthenticated(rich: Any) -> None:
    body = rich.withdrawal(USDC)
    rich.token = ""
    refused(rich.post("withdrawals", body), 401, "unauthenticated")


def test_withdraw_when_sent_again_then_nonce_reused_and_held_once(rich: Any) -> None:
    body = rich.withdrawal(USDC)
    held = rich.post("withdrawals", body).json()
    detail = refused(rich.post("withdrawals", body), 409, "nonce_reused")["detail"]
    assert detail == {"withdrawal": held, "same_request": True}
    assert parts(rich) == (99_999, 1)


def test_withdraw_when_the_nonce_has_another_then_told_which_one(rich: Any) -> None:
    first = rich.withdrawal(USDC)
    held = rich.post("withdrawals", first).json()
    tasks.advance_withdrawals()
    for changes in ({"amount_micros": 2 * USDC}, {"to_address": "0x" + "ab" * 20}):
        other = rich.withdrawal(**{"amount_micros": USDC, "nonce": first["nonce"]} | changes)
        detail = refused(rich.post("withdrawals", other), 409, "nonce_reused")["detail"]
        assert detail == {"withdrawal": held | {"status": "completed"}, "same_request": False}


def test_withdraw_when_more_than_there_is_then_insufficient_funds(rich: Any) -> None:
    refused(rich.post("withdrawals", rich.withdrawal(100_001 * USDC)), 422, "insufficient_funds")
    assert parts(rich) == (100_000, 0)


def test_withdraw_when_frozen_then_refused(rich: Any, writer: InProcessLink) -> None:
    writer.call(SetFrozen(Wallet.objects.get(address=rich.address).pk, True))
    refused(rich.post("withdrawals", rich.withdrawal(USDC)), 403, "wallet_frozen")


def test_withdraw_when_another_signed_then_bad_signature_with_what_was_expected(
    rich: Any, stranger: Any
) -> None:
    body = rich.withdrawal(USDC)
    stranger.address = rich.address
    body["signature"] = stranger.withdrawal(USDC, nonce=body["nonce"])["signature"]
    detail = refused(rich.post("withdrawals", body), 401, "bad_signature")["detail"]
    assert detail["expected"] == rich.address
    assert detail["recovered"] == stranger.account.address.lower()
    assert detail["skew_ms"] == 0
    assert detail["signed_text"].startswith("Tap Trading Withdrawal\nAction: withdraw\n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount_micros", 2 * USDC),
        ("to_address", "0x" + "cd" * 20),
        ("nonce", str(uuid.UUID(int=7))),
        ("timestamp", 1_764_000_001),
    ],
)
def test_withdraw_when_a_signed_field_was_changed_then_bad_signature(
    rich: Any, field: str, value: Any
) -> None:
    body = rich.withdrawal(USDC) | {field: value}
    refused(rich.post("withdrawals", body), 401, "bad_signature")
    assert not Withdrawal.objects.exists()


def test_withdraw_when_refusals_meet_then_the_contracts_order(rich: Any) -> None:
    old = clock.now_s() - 31
    everything = rich.withdrawal(USDC, timestamp=old) | {"chain_id": 1, "signature": "0x"}
    refused(rich.post("withdrawals", everything), 400, "invalid_request")
    everything["signature"] = "0x" + "11" * 65
    refused(rich.post("withdrawals", everything), 401, "wrong_chain")
    everything["chain_id"] = 8453
    refused(rich.post("withdrawals", everything), 401, "bad_signature")
    late = refused(
        rich.post("withdrawals", rich.withdrawal(1, timestamp=old)), 401, "timestamp_expired"
    )
    assert late["detail"] == {"server_time": "2025-11-24T16:00:00.000Z", "skew_ms": 31_000}
    ahead = rich.withdrawal(1, timestamp=clock.now_s() + 6)
    early = refused(rich.post("withdrawals", ahead), 401, "timestamp_in_future")
    assert early["detail"]["skew_ms"] == -6_000


def test_withdraw_when_the_writer_is_away_then_unavailable(rich: Any) -> None:
    def away(command: Any) -> Any:
        raise DependencyError

    body = rich.withdrawal(USDC)
    link.use(away)
    reply = rich.post("withdrawals", body)
    refused(reply, 503, "dependency_unavailable")
    assert int(reply["Retry-After"]) >= 1
    tasks.advance_withdrawals()  # goes on later, and says so


class BrokenCustodian(custody.LocalCustodian):
    """Cannot send to one address."""

    def send(self, withdrawal_id: int, address: str, amount_micros: int) -> None:
        if amount_micros == 13:
            raise TimeoutError("no answer")
        super().send(withdrawal_id, address, amount_micros)


def test_advance_when_one_payout_cannot_go_out_then_the_others_do(rich: Any) -> None:
    for amount_micros in (13, 14):
        rich.post("withdrawals", rich.withdrawal(amount_micros))
    withdrawals.advance(BrokenCustodian(), clock.now_us())
    states = dict(Withdrawal.objects.values_list("amount_micros", "status"))
    assert states == {13: "approved", 14: "completed"}
    tasks.advance_withdrawals()
    assert set(Withdrawal.objects.values_list("status", flat=True)) == {"completed"}


def test_advance_when_many_payouts_cannot_go_out_then_those_behind_them_do(
    rich: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "PAGE", 2)
    for amount_micros in (13, 13, 13, 13, 14):
        rich.post("withdrawals", rich.withdrawal(amount_micros))
    withdrawals.advance(BrokenCustodian(), clock.now_us())
    states = Withdrawal.objects.order_by("id").values_list("status", flat=True)
    assert list(states) == ["approved"] * 4 + ["completed"]


def test_advance_when_there_is_no_end_to_them_then_a_run_has_one(
    rich: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "PAGE", 2)
    monkeypatch.setattr(backlog, "PAGES_MAX", 2)
    for _ in range(5):
        rich.post("withdrawals", rich.withdrawal(14))
    states = Withdrawal.objects.order_by("id").values_list("status", flat=True)
    withdrawals.advance(custody.local, clock.now_us())
    assert list(states.all()) == ["completed"] * 4 + ["held"]
    withdrawals.advance(custody.local, clock.now_us())
    assert list(states.all()) == ["completed"] * 5


def test_advance_when_it_died_after_sending_then_sent_once(rich: Any) -> None:
    rich.post("withdrawals", rich.withdrawal(USDC))
    row = Withdrawal.objects.get()
    custody.local.send(row.pk, row.to_address, row.amount_micros)
    tasks.advance_withdrawals()
    assert status_of(rich) == "completed"
    assert custody.local.holdings_micros() == 99_999 * USDC


def test_advance_when_there_is_no_custodian_then_approved_and_waiting(
    rich: Any, settings: Any
) -> None:
    rich.post("withdrawals", rich.withdrawal(USDC))
    settings.DEMO = False
    tasks.advance_withdrawals()
    assert status_of(rich) == "approved"


@pytest.mark.django_db
def test_open_withdrawals_then_read_from_their_index() -> None:
    plan = withdrawals._in_state(Withdrawal.Status.HELD).explain()
    assert "withdrawal_open" in plan
