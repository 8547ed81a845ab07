"""Session keys in the writer: who may authorise and revoke what, and who is told."""

from typing import Any

import pytest
from django.db import OperationalError

from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from tests import factories
from tests.factories import USDC
from tests.fakes import InProcessLink, ManualClock
from wallet.events import Event
from wallet.keys import AuthorizeKey, RevokeKey
from wallet.models import SessionKey, Wallet
from wallet.protocol import Done

KEY = "0x" + "ab" * 20


@pytest.fixture
def player(writer: InProcessLink) -> Wallet:
    return factories.funded_wallet(writer)


def authorize(wallet_id: int, number: int = 1, **changes: Any) -> AuthorizeKey:
    fields: dict[str, Any] = {
        "wallet_id": wallet_id,
        "key": f"0x{number:040x}",
        "label": "phone",
        "max_stake_micros": 5 * USDC,
        "max_total_micros": 50 * USDC,
        "expires_at_us": clock.now_us() + 60_000_000,
        "nonce": f"{number:032x}",
        "timestamp": clock.now_s(),
        "signature": bytes(range(65)),
    }
    return AuthorizeKey(**(fields | changes))


def test_authorize_when_good_then_stored_as_it_was_signed_and_told(
    writer: InProcessLink, player: Wallet
) -> None:
    writer.told.clear()
    command = authorize(player.pk)
    outcome = writer.call(command)
    key = SessionKey.objects.get()
    assert outcome == Done(key.pk)
    for name in ("wallet_id", "label", "max_stake_micros", "max_total_micros", "timestamp"):
        assert getattr(key, name) == getattr(command, name), name
    assert (key.address, key.nonce.hex, key.used_micros) == (command.key, command.nonce, 0)
    assert bytes(key.signature) == command.signature
    assert clock.to_us(key.expires_at) == command.expires_at_us
    assert (clock.to_us(key.created_at), key.revoked_at) == (clock.now_us(), None)
    assert writer.told == [Event(player.pk, "key.changed", 0, 0, {})]


def test_authorize_when_nobody_has_the_wallet_then_unknown(writer: InProcessLink) -> None:
    assert writer.call(authorize(12_345)) == Refusal("unknown_wallet")
    assert not SessionKey.objects.exists()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("again", "code"),
    [
        ({"number": 2, "nonce": f"{1:032x}"}, "nonce_reused"),
        ({"number": 2, "key": f"0x{1:040x}"}, "invalid_request"),
    ],
)
def test_authorize_when_the_nonce_or_the_key_came_before_then_refused(
    writer: InProcessLink, player: Wallet, at_once: bool, again: dict[str, Any], code: str
) -> None:
    commands = [authorize(player.pk), authorize(player.pk, **again)]
    outcomes = writer.run(commands) if at_once else [writer.call(c) for c in commands]
    assert outcomes[1].code == code
    assert SessionKey.objects.count() == 1
    assert isinstance(writer.call(authorize(factories.funded_wallet(writer).pk, **again)), Done)


def test_authorize_when_too_many_live_then_refused_until_one_is_dead(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    most = LIMITS.session_keys_per_wallet
    keys = [writer.call(authorize(player.pk, number)) for number in range(1, most + 1)]
    refusal = writer.call(authorize(player.pk, most + 1))
    assert (refusal.code, refusal.detail) == ("invalid_request", {"session_keys_per_wallet": most})
    writer.call(RevokeKey(player.pk, keys[0].id))
    assert isinstance(writer.call(authorize(player.pk, most + 1)), Done)
    assert writer.call(authorize(player.pk, most + 2)).code == "invalid_request"
    now.advance(60)  # all of them expire at this very instant
    assert isinstance(writer.call(authorize(player.pk, most + 2)), Done)


def test_revoke_when_it_comes_again_then_the_first_time_stands(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    done = writer.call(authorize(player.pk))
    revoked_us = now.us
    writer.told.clear()
    assert writer.run([RevokeKey(player.pk, done.id)] * 2) == [done, done]
    now.advance(5)
    assert writer.call(RevokeKey(player.pk, done.id)) == done
    key = SessionKey.objects.get()
    assert key.revoked_at is not None
    assert clock.to_us(key.revoked_at) == revoked_us
    assert writer.told == [Event(player.pk, "key.changed", 0, 0, {})]


def test_revoke_when_it_is_anothers_or_nobodys_then_not_found(
    writer: InProcessLink, player: Wallet
) -> None:
    done = writer.call(authorize(player.pk))
    other = factories.funded_wallet(writer)
    writer.call(authorize(other.pk))
    assert writer.call(RevokeKey(other.pk, done.id)) == Refusal("not_found")
    assert writer.call(RevokeKey(player.pk, 12_345)) == Refusal("not_found")
    assert not SessionKey.objects.filter(revoked_at__isnull=False).exists()


def test_keys_when_the_batch_cannot_be_committed_then_nothing_stored_and_nothing_told(
    writer: InProcessLink, player: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.told.clear()

    def disk_full(_: object) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr("wallet.book.Book.persist", disk_full)
    assert writer.call(authorize(player.pk)) == Refusal("dependency_unavailable")
    assert writer.told == []
    assert not SessionKey.objects.exists()
