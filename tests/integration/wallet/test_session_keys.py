"""Session keys over HTTP: the wallet's signature authorises, its session reads and revokes."""

from typing import Any

import pytest

from taptrading import clock
from taptrading.limits import LIMITS
from tests.fakes import InProcessLink
from wallet.models import SessionKey

KEY = "0x" + "AB" * 20
USDC = 1_000_000


def refused(reply: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = reply.json()
    assert (reply.status_code, body["error"]) == (status, code), body
    return body


def test_authorize_when_not_signed_in_then_the_signature_is_enough(trader: Any) -> None:
    trader.token = ""
    asked = trader.session_key(KEY)
    reply = trader.post("session-keys", asked)
    assert reply.status_code == 201
    key = reply.json()
    assert key == asked | {
        "key": KEY.lower(),
        "key_id": key["key_id"],
        "used_micros": 0,
        "revoked_at": None,
    }
    assert isinstance(key["key_id"], str)


def test_authorize_when_a_dead_token_comes_along_then_it_does_not_matter(trader: Any) -> None:
    trader.token = "dead"
    assert trader.post("session-keys", trader.session_key(KEY)).status_code == 201


def test_list_and_revoke_then_only_the_owner(trader: Any, stranger: Any) -> None:
    key_id = trader.post("session-keys", trader.session_key(KEY)).json()["key_id"]
    assert [key["key_id"] for key in trader.get("session-keys").json()["results"]] == [key_id]

    refused(stranger.get("session-keys"), 401, "unauthenticated")
    stranger.sign_in()
    assert stranger.get("session-keys").json()["results"] == []
    refused(stranger.delete(f"session-keys/{key_id}"), 404, "not_found")

    assert trader.delete(f"session-keys/{key_id}").status_code == 204
    (key,) = trader.get("session-keys").json()["results"]
    assert key["revoked_at"] == clock.iso_ms(clock.now_us())
    assert trader.delete(f"session-keys/{key_id}").status_code == 204


def test_authorize_when_sent_again_then_nonce_reused(trader: Any) -> None:
    asked = trader.session_key(KEY)
    key = trader.post("session-keys", asked).json()
    detail = refused(trader.post("session-keys", asked), 409, "nonce_reused")["detail"]
    assert detail == {"session_key": key, "same_request": True}
    assert SessionKey.objects.count() == 1


@pytest.mark.parametrize(
    "changes",
    [{"label": "other"}, {"max_stake_micros": 1}, {"key": "0x" + "cd" * 20}],
)
def test_authorize_when_the_nonce_authorised_another_then_told_which_one(
    trader: Any, changes: dict[str, Any]
) -> None:
    asked = trader.session_key(KEY)
    key = trader.post("session-keys", asked).json()
    other = trader.session_key(**{"key": KEY, "nonce": asked["nonce"]} | changes)
    detail = refused(trader.post("session-keys", other), 409, "nonce_reused")["detail"]
    assert detail == {"session_key": key, "same_request": False}


def test_authorize_when_wallet_never_signed_in_then_unknown_wallet(stranger: Any) -> None:
    refused(stranger.post("session-keys", stranger.session_key(KEY)), 401, "unknown_wallet")


def test_authorize_when_another_signed_then_bad_signature(trader: Any, stranger: Any) -> None:
    asked = stranger.session_key(KEY, wallet=trader.address)
    detail = refused(trader.post("session-keys", asked), 401, "bad_signature")["detail"]
    assert set(detail) == {"signed_text", "recovered", "expected", "skew_ms"}
    assert detail["recovered"] == stranger.address


def test_authorize_when_a_key_signs_for_itself_then_bad_signature(
    trader: Any, stranger: Any
) -> None:
    trader.post("session-keys", trader.session_key(stranger.address))
    asked = stranger.session_key(KEY, wallet=trader.address)
    refused(trader.post("session-keys", asked), 401, "bad_signature")


def test_authorize_when_refusals_meet_then_the_contracts_order(trader: Any) -> None:
    old = clock.now_s() - 31
    asked = trader.session_key(KEY, timestamp=old)
    refused(trader.post("session-keys", asked | {"chain_id": 5}), 401, "wrong_chain")
    refused(trader.post("session-keys", asked | {"label": "other"}), 401, "bad_signature")
    late = refused(trader.post("session-keys", asked), 401, "timestamp_expired")
    assert late["detail"]["skew_ms"] == 31_000
    ahead = trader.session_key(KEY, timestamp=clock.now_s() + 6)
    refused(trader.post("session-keys", ahead), 401, "timestamp_in_future")


@pytest.mark.parametrize(
    "changes",
    [
        {"label": ""},
        {"label": "x" * 65},
        {"label": "é"},
        {"label": "two\nlines"},
        {"key": "0xab"},
        {"max_stake_micros": 0},
        {"max_total_micros": 2**63},
        {"expires_at": 253_402_300_800},
        {"nonce": "0F8FAD5B-D9CB-469F-A165-70867728950E"},
    ],
)
def test_authorize_when_a_field_is_malformed_then_invalid_request(
    trader: Any, changes: dict[str, Any]
) -> None:
    refused(trader.post("session-keys", trader.session_key(KEY) | changes), 400, "invalid_request")
    assert not SessionKey.objects.exists()


def test_authorize_when_it_makes_no_sense_then_invalid_request(trader: Any) -> None:
    expired = trader.session_key(KEY, expires_at=clock.now_s())
    refused(trader.post("session-keys", expired), 400, "invalid_request")
    own = trader.session_key(trader.address)
    refused(trader.post("session-keys", own), 400, "invalid_request")


def test_authorize_when_too_many_live_then_refused(trader: Any, writer: InProcessLink) -> None:
    for number in range(LIMITS.session_keys_per_wallet):
        asked = trader.session_key(f"0x{number + 1:040x}")
        assert trader.post("session-keys", asked).status_code == 201
    refused(trader.post("session-keys", trader.session_key(KEY)), 400, "invalid_request")
