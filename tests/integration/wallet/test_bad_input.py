"""Bad input at every edge of wallet: one stable code, a request id, and nothing stored."""

import json
from typing import Any

import pytest
from django.test import Client

from wallet.models import CustodyEvent, Deposit, LedgerEntry, SessionKey, TraderSession, Withdrawal

STORED = (CustodyEvent, Deposit, LedgerEntry, SessionKey, TraderSession, Withdrawal)
PATHS = ("auth/nonce", "auth/login", "deposits", "withdrawals", "session-keys")

BODIES = {
    "malformed": "{",
    "an array": "[]",
    "a number": "5",
    "null": "null",
    "duplicate keys": '{"amount_micros": 1, "amount_micros": 1}',
    "NaN": '{"amount_micros": NaN}',
    "infinity": '{"amount_micros": -Infinity}',
    "a float": '{"amount_micros": 1.0}',
    "an exponent": '{"amount_micros": 1e6}',
    "unknown field": '{"surprise": 1}',
    "a lone surrogate": '{"message": "\\ud800"}',
    "deep": "[" * 5_000 + "]" * 5_000,
    "not utf-8": b"\xff\xfe",
    "utf-16": '{"amount_micros": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BODIES)
def test_post_when_body_is_bad_then_invalid_request(trader: Any, path: str, name: str) -> None:
    before = [model.objects.count() for model in STORED]
    reply = trader.post(path, BODIES[name])
    body = reply.json()
    assert (reply.status_code, body["error"]) == (400, "invalid_request"), body
    assert body["request_id"] == reply["X-Request-ID"]
    assert [model.objects.count() for model in STORED] == before


@pytest.mark.parametrize("path", PATHS)
def test_post_when_body_is_huge_then_too_large(trader: Any, path: str) -> None:
    reply = trader.post(path, b"{" + b" " * 16 * 1024)
    assert (reply.status_code, reply.json()["error"]) == (413, "too_large")


AMOUNTS = [0, -1, 1.0, "5", True, None, [], {}, 2**63, 10**40]


@pytest.mark.parametrize("amount", AMOUNTS)
def test_deposit_when_amount_is_bad_then_invalid_request(trader: Any, amount: Any) -> None:
    reply = trader.post("deposits", {"amount_micros": amount})
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")
    assert not Deposit.objects.exists()


def test_deposit_when_above_the_most_then_invalid_request(trader: Any) -> None:
    assert trader.post("deposits", {"amount_micros": 10**12 + 1}).status_code == 400
    assert trader.post("deposits", {"amount_micros": 10**12}).status_code == 202


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("amount_micros", AMOUNTS),
        ("to_address", ["", "0x", "0x" + "ａ" * 40, "0x" + "ab" * 21, 5, None]),
        ("nonce", ["", "00000000-0000-0000-0000-00000000000A", "0" * 32, 5, None]),
        ("timestamp", [-1, 1.5, "1", 2**63, None]),
        ("chain_id", [-1, "8453", None]),
        ("signature", ["", "0x", "0x" + "11" * 64, "0x" + "11" * 66, "0x" + "１" * 130, None]),
    ],
)
def test_withdraw_when_a_field_is_bad_then_invalid_request(
    trader: Any, field: str, values: list[Any]
) -> None:
    trader.deposit(10)
    good = trader.withdrawal(1)
    for value in values:
        reply = trader.post("withdrawals", good | {field: value})
        assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request"), value
        if not isinstance(value, float):  # a float is refused before it is anybody's field
            assert field in reply.json()["detail"]["fields"]
    for field_left_out in good:
        rest = {k: v for k, v in good.items() if k != field_left_out}
        assert trader.post("withdrawals", rest).status_code == 400
    assert not Withdrawal.objects.exists()


@pytest.mark.parametrize("v", ["00", "01", "1a", "1d", "ff"])
def test_withdraw_when_v_is_another_then_bad_signature(trader: Any, v: str) -> None:
    trader.deposit(10)
    good = trader.withdrawal(1)
    reply = trader.post("withdrawals", good | {"signature": good["signature"][:-2] + v})
    assert (reply.status_code, reply.json()["error"]) == (401, "bad_signature")
    assert reply.json()["detail"]["recovered"] is None


def test_any_path_when_a_slash_follows_then_the_same_answer(trader: Any) -> None:
    for path in ("wallet", "ledger", "deposits", "withdrawals", "session-keys"):
        assert trader.get(path + "/").json() == trader.get(path).json()
    assert trader.post("auth/nonce/", {}).status_code == 200
    assert trader.get("wallet//").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("put", "wallet"),
        ("post", "wallet"),
        ("get", "auth/nonce"),
        ("patch", "deposits"),
        ("delete", "withdrawals"),
        ("get", "custody/events"),
        ("post", "ledger"),
    ],
)
def test_method_when_not_answered_then_405(trader: Any, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {trader.token}"}
    reply = getattr(trader.http, method)(f"/api/v1/{path}", headers=headers)
    assert (reply.status_code, reply.json()["error"]) == (405, "method_not_allowed")
    assert reply["Allow"]


def test_path_when_unknown_then_not_found_as_json(http: Client) -> None:
    for path in ("/api/v1/nowhere", "/api/v2/wallet", "/api/", "/api/v1/withdrawals/1/2"):
        reply = http.get(path)
        assert (reply.status_code, json.loads(reply.content)["error"]) == (404, "not_found")


def test_host_when_foreign_then_invalid_request(http: Client) -> None:
    reply = http.get("/api/v1/wallet", headers={"Host": "evil.example"})
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")
