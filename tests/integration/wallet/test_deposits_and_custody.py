"""Deposits, and the custodian's signed events: believed only signed, carried out only once."""

import json
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from taptrading import clock
from taptrading.errors import OutcomeUnknown, Refusal
from tests.fakes import InProcessLink, ManualClock
from wallet import custody, link, tasks
from wallet.ids import CUSTODY
from wallet.models import CustodyEvent, Deposit, LedgerEntry, Wallet
from wallet.transfers import CustodyReport, RequestDeposit

USDC = 1_000_000


def event(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "e-1",
        "type": "deposit.confirmed",
        "reference": "",
        "address": "0x" + "ab" * 20,
        "amount_micros": 5 * USDC,
    } | changes


def deliver(http: Client, body: dict[str, Any] | bytes, settings: Any, **changes: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    timestamp = changes.get("timestamp", str(clock.now_s()))
    signature = custody.sign_event(settings.CUSTODY_SECRET, timestamp, raw)
    return http.post(
        "/api/v1/custody/events",
        raw,
        content_type=changes.get("content_type", "application/json"),
        headers={
            "X-Custody-Timestamp": timestamp,
            "X-Custody-Signature": changes.get("signature", signature),
        },
    )


def assert_refused(reply: Any, status: int, code: str) -> None:
    assert (reply.status_code, reply.json()["error"]) == (status, code), reply.content
    assert not CustodyEvent.objects.exists()
    assert not LedgerEntry.objects.exists()


def test_deposit_in_demo_then_completed_at_once(trader: Any) -> None:
    reply = trader.deposit(100)
    assert reply.status_code == 202
    body = reply.json()
    assert body == {
        "deposit_id": body["deposit_id"],
        "status": "completed",
        "amount_micros": 100 * USDC,
        "created_at": "2025-11-24T16:00:00.000Z",
    }
    assert isinstance(body["deposit_id"], str)
    assert trader.get("wallet").json()["balance_micros"] == 100 * USDC
    assert trader.get("deposits").json() == {"results": [body], "next": None}
    assert -Wallet.objects.get(pk=CUSTODY).balance_micros == custody.local.holdings_micros()


def test_deposit_outside_demo_then_pending_until_the_custodian_says_so(
    trader: Any, http: Client, settings: Any
) -> None:
    settings.DEMO = False
    deposit = trader.deposit(100).json()
    assert deposit["status"] == "pending"
    assert trader.get("wallet").json()["balance_micros"] == 0

    told = event(reference=deposit["deposit_id"], address=trader.address, amount_micros=100 * USDC)
    assert deliver(http, told, settings).json() == {"outcome": "applied"}
    assert trader.get("deposits").json()["results"][0]["status"] == "completed"
    assert trader.get("wallet").json()["balance_micros"] == 100 * USDC


def test_event_when_delivered_twice_then_credited_once(
    trader: Any, http: Client, settings: Any
) -> None:
    told = event(address=trader.account.address)
    assert deliver(http, told, settings).json() == {"outcome": "applied"}
    again = deliver(http, told, settings)
    assert (again.status_code, again.json()) == (200, {"outcome": "repeated"})
    assert trader.get("wallet").json()["balance_micros"] == 5 * USDC
    assert LedgerEntry.objects.count() == 1


def test_event_when_for_a_deposit_of_another_then_unmatched(
    trader: Any, stranger: Any, http: Client, settings: Any
) -> None:
    stranger.sign_in()
    settings.DEMO = False
    deposit = trader.deposit(100).json()
    told = event(reference=deposit["deposit_id"], address=stranger.address)
    assert deliver(http, told, settings).json() == {"outcome": "unmatched"}
    assert not LedgerEntry.objects.exists()


def test_event_when_nobody_has_the_address_then_kept_unmatched(http: Client, settings: Any) -> None:
    assert deliver(http, event(), settings).json() == {"outcome": "unmatched"}
    assert CustodyEvent.objects.get().outcome == "unmatched"


@pytest.mark.parametrize("signature", ["", "00" * 32, "é" * 64, "0x" + "11" * 32])
def test_event_when_signature_is_wrong_then_bad_signature(
    http: Client, settings: Any, signature: str
) -> None:
    assert_refused(deliver(http, event(), settings, signature=signature), 401, "bad_signature")


def test_event_when_body_was_changed_then_bad_signature(http: Client, settings: Any) -> None:
    signature = custody.sign_event(
        settings.CUSTODY_SECRET, str(clock.now_s()), json.dumps(event()).encode()
    )
    changed = event(amount_micros=6 * USDC)
    assert_refused(deliver(http, changed, settings, signature=signature), 401, "bad_signature")


def test_event_when_headers_are_missing_then_bad_signature(http: Client, settings: Any) -> None:
    reply = http.post("/api/v1/custody/events", "{}", content_type="application/json")
    assert_refused(reply, 401, "bad_signature")


@pytest.mark.parametrize("text", ["", "soon", "1.5", "-5", "9" * 40, "١٢٣"])
def test_event_when_timestamp_is_no_number_then_bad_signature(
    http: Client, settings: Any, text: str
) -> None:
    assert_refused(deliver(http, event(), settings, timestamp=text), 401, "bad_signature")


def test_event_when_older_or_newer_than_five_minutes_then_bad_signature(
    http: Client, settings: Any, now: ManualClock
) -> None:
    for skew in (-301, 301):
        stamp = str(clock.now_s() + skew)
        assert_refused(deliver(http, event(), settings, timestamp=stamp), 401, "bad_signature")
    for number, skew in enumerate((-300, 300)):
        stamp = str(clock.now_s() + skew)
        told = event(event_id=f"e-{number}")
        assert deliver(http, told, settings, timestamp=stamp).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": ""},
        {"event_id": "x" * 101},
        {"event_id": 5},
        {"type": "deposit.failed"},
        {"type": None},
        {"reference": None},
        {"reference": "x" * 101},
        {"address": "0xab"},
        {"address": "0x" + "ａ" * 40},
        {"amount_micros": 0},
        {"amount_micros": -1},
        {"amount_micros": 10**17 + 1},
        {"amount_micros": 2**63},
        {"amount_micros": 1.5},
        {"amount_micros": "5"},
        {"extra": 1},
    ],
)
def test_event_when_not_of_the_form_then_invalid_request(
    http: Client, settings: Any, changes: dict[str, Any]
) -> None:
    assert_refused(deliver(http, event(**changes), settings), 400, "invalid_request")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"a": 1, "a": 1}', b'{"a": NaN}', b"\xff"])
def test_event_when_not_strict_json_then_invalid_request(
    http: Client, settings: Any, raw: bytes
) -> None:
    assert_refused(deliver(http, raw, settings), 400, "invalid_request")


def test_event_when_huge_then_too_large(http: Client, settings: Any) -> None:
    raw = json.dumps(event()).encode() + b" " * 16_384
    assert_refused(deliver(http, raw, settings), 413, "too_large")


@pytest.fixture(params=["died", "could not commit"])
def half_done(trader: Any, writer: InProcessLink, request: Any) -> Any:
    """A trader whose deposit the writer recorded, but not that its money came."""

    def fail_on_report(command: Any) -> Any:
        if not isinstance(command, CustodyReport):
            return writer.call(command)
        if request.param == "died":
            raise OutcomeUnknown
        return Refusal("dependency_unavailable")

    link.use(fail_on_report)
    assert trader.deposit(7).json()["status"] == "pending"
    link.use(writer.call)
    return trader


def balance(trader: Any) -> int:
    return int(trader.get("wallet").json()["balance_micros"]) // USDC


def test_deposit_in_demo_when_left_half_done_then_completed_later_once(
    half_done: Any, now: ManualClock
) -> None:
    now.advance(4)
    tasks.advance_withdrawals()
    assert balance(half_done) == 0  # whoever asked may still be at it
    now.advance(1)
    tasks.advance_withdrawals()
    tasks.advance_withdrawals()
    assert balance(half_done) == 7
    assert half_done.get("deposits").json()["results"][0]["status"] == "completed"
    assert custody.local.holdings_micros() == 7 * USDC


def test_deposit_outside_demo_when_pending_then_only_the_custodian_completes_it(
    half_done: Any, now: ManualClock, settings: Any
) -> None:
    settings.DEMO = False
    now.advance(60)
    tasks.advance_withdrawals()
    assert balance(half_done) == 0


def test_deposits_when_one_cannot_be_completed_then_the_others_are(
    half_done: Any, now: ManualClock, monkeypatch: pytest.MonkeyPatch, writer: InProcessLink
) -> None:
    writer.call(RequestDeposit(Wallet.objects.get(address=half_done.address).pk, 9 * USDC))
    receive = custody.local.receive

    def fail_for_seven(deposit: Deposit, address: str) -> None:
        if deposit.amount_micros == 7 * USDC:
            raise TimeoutError("no answer")
        receive(deposit, address)

    monkeypatch.setattr(custody.local, "receive", fail_for_seven)
    now.advance(10)
    tasks.advance_withdrawals()
    assert balance(half_done) == 9


def test_local_custodian_when_it_repeats_itself_then_nothing_doubles(trader: Any) -> None:
    trader.deposit(7)
    deposit = Deposit.objects.get()
    custody.local.receive(deposit, trader.address)
    assert custody.local.holdings_micros() == 7 * USDC
    assert trader.get("wallet").json()["balance_micros"] == 7 * USDC


def test_local_custodian_when_asked_about_an_unknown_payout_then_silent(http: Client) -> None:
    custody.local.ask(12345)
    assert not CustodyEvent.objects.exists()


def test_deposit_when_the_writers_answer_is_lost_then_outcome_unknown(
    trader: Any, writer: InProcessLink
) -> None:
    def lose_the_answer(command: Any) -> Any:
        writer.call(command)
        raise OutcomeUnknown

    link.use(lose_the_answer)
    reply = trader.deposit(7)
    assert (reply.status_code, reply.json()["error"]) == (504, "outcome_unknown")
    assert Deposit.objects.count() == 1  # "send it again" would have made it two


def test_deposit_in_demo_when_the_database_is_locked_meanwhile_then_pending_not_refused(
    trader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(deposit: Deposit, address: str) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(custody.local, "receive", locked)
    reply = trader.deposit(7)
    assert (reply.status_code, reply.json()["status"]) == (202, "pending")


def test_deposit_when_it_cannot_be_read_afterwards_then_outcome_unknown(
    trader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(deposit: Deposit, **_: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(Deposit, "refresh_from_db", locked)
    reply = trader.deposit(7)
    assert (reply.status_code, reply.json()["error"]) == (504, "outcome_unknown")
