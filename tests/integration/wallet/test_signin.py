"""Sign-In with Ethereum over HTTP: who gets in, who does not, and how a session ends."""

from typing import Any

import pytest
from django.test import Client

from taptrading import clock
from taptrading.limiter import TokenBuckets
from taptrading.limits import LIMITS
from tests.fakes import ManualClock
from wallet import signin_views
from wallet.models import TraderSession, Wallet


def refused(reply: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = reply.json()
    assert (reply.status_code, body["error"]) == (status, code), body
    assert body["request_id"] == reply["X-Request-ID"]
    return body


def test_sign_in_when_first_then_registers_once(stranger: Any) -> None:
    reply = stranger.login(stranger.message(stranger.nonce()))
    body = reply.json()
    assert reply.status_code == 200
    assert body["wallet"] == stranger.address
    assert stranger.address.islower()
    assert body["expires_at"] == clock.iso_ms(clock.now_us() + LIMITS.session_s * clock.US_PER_S)

    stranger.sign_in()
    assert Wallet.objects.filter(address=stranger.address).count() == 1


def test_sign_in_then_the_database_does_not_hold_the_token(trader: Any) -> None:
    session = TraderSession.objects.get()
    assert len(bytes(session.token_sha256)) == 32
    assert trader.token.encode() not in bytes(session.token_sha256)
    assert len(trader.token) >= 43


def test_sign_in_then_cookie_is_http_only_and_lax(stranger: Any) -> None:
    reply = stranger.login(stranger.message(stranger.nonce()))
    cookie = reply.cookies["tap_session"]
    assert cookie.value == reply.json()["token"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == LIMITS.session_s
    assert reply.cookies["csrftoken"].value


def test_nonce_then_it_lasts_five_minutes_and_is_limited(stranger: Any) -> None:
    reply = stranger.post("auth/nonce", {})
    assert reply.status_code == 200
    assert reply.json()["expires_at"] == clock.iso_ms(clock.now_us() + 300 * clock.US_PER_S)
    assert int(reply["RateLimit-Limit"]) > int(reply["RateLimit-Remaining"])
    assert "RateLimit-Reset" in reply


def test_sign_in_when_nonce_is_used_or_unknown_then_invalid_nonce(stranger: Any) -> None:
    message = stranger.message(stranger.nonce())
    assert stranger.login(message).status_code == 200
    refused(stranger.login(message), 401, "invalid_nonce")
    refused(stranger.login(stranger.message("a" * 32)), 401, "invalid_nonce")
    assert TraderSession.objects.count() == 1


def test_sign_in_when_refused_for_another_reason_then_the_nonce_is_not_used(stranger: Any) -> None:
    nonce = stranger.nonce()
    refused(stranger.login(stranger.message(nonce, chain_id=1)), 401, "wrong_chain")
    assert stranger.login(stranger.message(nonce)).status_code == 200


@pytest.mark.parametrize("domain", ["127.0.0.1", "127.0.0.1:8001", "example.com"])
def test_sign_in_when_for_another_domain_then_wrong_domain(stranger: Any, domain: str) -> None:
    refused(stranger.login(stranger.message(stranger.nonce(), domain=domain)), 401, "wrong_domain")


def test_sign_in_when_with_scheme_then_the_domain_counts(stranger: Any) -> None:
    message = stranger.message(stranger.nonce(), domain="http://127.0.0.1:8000")
    assert stranger.login(message).status_code == 200
    foreign = stranger.message(stranger.nonce(), domain="ftp://127.0.0.1:8000")
    refused(stranger.login(foreign), 401, "wrong_domain")


def test_sign_in_when_out_of_time_then_message_expired(stranger: Any, now: ManualClock) -> None:
    def at(seconds: int) -> str:
        return clock.iso_ms(now.us + seconds * clock.US_PER_S)

    def login(**changes: str) -> Any:
        return stranger.login(stranger.message(stranger.nonce(), **changes))

    assert login(issued_at=at(-300)).status_code == 200
    refused(login(issued_at=at(-301)), 401, "message_expired")
    refused(login(issued_at=at(301)), 401, "message_expired")
    refused(login(tail=f"\nExpiration Time: {at(0)}"), 401, "message_expired")
    refused(login(tail=f"\nNot Before: {at(1)}"), 401, "message_expired")
    assert login(tail=f"\nExpiration Time: {at(1)}\nNot Before: {at(0)}").status_code == 200


def test_sign_in_when_another_key_signed_then_bad_signature(stranger: Any, trader: Any) -> None:
    message = stranger.message(stranger.nonce())
    reply = stranger.post("auth/login", {"message": message, "signature": trader.sign(message)})
    body = refused(reply, 401, "bad_signature")
    assert body["detail"] == {"recovered": trader.address, "expected": stranger.address}
    assert not Wallet.objects.filter(address=stranger.address).exists()


@pytest.mark.parametrize(
    "signature", ["", "0x", "0x" + "11" * 64, "0x" + "11" * 66, "0x" + "١" * 130, 5, None]
)
def test_sign_in_when_signature_is_malformed_then_invalid_request(
    stranger: Any, signature: Any
) -> None:
    message = stranger.message(stranger.nonce())
    reply = stranger.post("auth/login", {"message": message, "signature": signature})
    refused(reply, 400, "invalid_request")


def test_sign_in_when_address_is_not_in_checksum_form_then_invalid_request(stranger: Any) -> None:
    message = stranger.message(stranger.nonce(), address=stranger.address)
    refused(stranger.login(message), 400, "invalid_request")


def test_sign_in_when_redis_is_away_then_unavailable(
    stranger: Any, settings: Any, tmp_path: Any
) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/none.sock?db=0"
    reply = stranger.post("auth/nonce", {})
    refused(reply, 503, "dependency_unavailable")
    assert int(reply["Retry-After"]) >= 1


def test_sign_in_when_too_often_then_limited(
    stranger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = TokenBuckets(burst=2, period_us=500_000)
    monkeypatch.setattr(signin_views, "buckets", buckets)
    assert stranger.post("auth/nonce", {}).status_code == 200
    assert stranger.post("auth/login", {}).status_code == 400
    reply = stranger.post("auth/nonce", {})
    refused(reply, 429, "rate_limited")
    assert reply["Retry-After"] == "1"
    assert reply["RateLimit-Remaining"] == "0"


def test_session_when_a_day_old_then_over(trader: Any, now: ManualClock) -> None:
    now.advance(LIMITS.session_s - 1)
    assert trader.get("wallet").status_code == 200
    now.advance(1)
    refused(trader.get("wallet"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer nope", "bearer é", "Basic Zm9v", "Bearer " + "a" * 500],
)
def test_get_when_token_is_not_one_then_unauthenticated(http: Client, header: str) -> None:
    reply = http.get("/api/v1/wallet", headers={"Authorization": header})
    refused(reply, 401, "unauthenticated")
    assert reply["WWW-Authenticate"].startswith("Bearer")


def test_sign_out_then_token_and_cookie_are_dead(stranger: Any, http: Client) -> None:
    token = stranger.login(stranger.message(stranger.nonce())).json()["token"]
    csrf = http.cookies["csrftoken"].value
    reply = http.post("/api/v1/auth/logout", headers={"X-CSRFToken": csrf})
    assert reply.status_code == 204
    assert reply.cookies["tap_session"].value == ""
    http.cookies.clear()
    for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"tap_session={token}"}):
        refused(http.get("/api/v1/wallet", headers=headers), 401, "unauthenticated")


def test_cookie_when_method_is_unsafe_then_csrf_is_asked_for(stranger: Any, http: Client) -> None:
    stranger.login(stranger.message(stranger.nonce()))
    assert http.get("/api/v1/wallet").status_code == 200

    reply = http.post("/api/v1/deposits", "{}", content_type="application/json")
    refused(reply, 403, "csrf_failed")
    csrf = {"X-CSRFToken": http.cookies["csrftoken"].value}
    foreign = csrf | {"Origin": "https://evil.example"}
    body = '{"amount_micros": 1}'
    json_type = "application/json"
    reply = http.post("/api/v1/deposits", body, content_type=json_type, headers=foreign)
    refused(reply, 403, "csrf_failed")
    reply = http.post("/api/v1/deposits", body, content_type=json_type, headers=csrf)
    assert reply.status_code == 202
