"""Traders who sign with eth-account, over HTTP to the real views, on the real writer's core."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from eth_account import Account
from eth_account.messages import encode_defunct

from taptrading import clock
from taptrading.limiter import TokenBuckets
from tests.fakes import InProcessLink
from tests.servers import valkey
from wallet import signin_views, signing

USDC = 1_000_000


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("valkey")
    with valkey(folder) as url:
        yield url


@pytest.fixture
def http(
    writer: InProcessLink,
    redis_url: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Client:
    settings.REDIS_URL = redis_url
    monkeypatch.setattr(signin_views, "buckets", TokenBuckets(burst=1_000, period_us=1))
    return Client(enforce_csrf_checks=True, raise_request_exception=False)


class Trader:
    """A key and what it has of the platform."""

    def __init__(self, http: Client, key: str = "0x" + "11" * 32) -> None:
        self.http = http
        self.account = Account.from_key(key)
        self.address: str = self.account.address.lower()
        self.token = ""

    def sign(self, text: str | bytes) -> str:
        raw = text if isinstance(text, bytes) else text.encode()
        signed = self.account.sign_message(encode_defunct(primitive=raw))
        return "0x" + bytes(signed.signature).hex()

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.http.post(
            f"/api/v1/{path}",
            body if isinstance(body, str | bytes) else json.dumps(body),
            content_type="application/json",
            headers=self._headers() | headers,
        )

    def get(self, path: str, **headers: str) -> Any:
        return self.http.get(f"/api/v1/{path}", headers=self._headers() | headers)

    def put(self, path: str, body: Any) -> Any:
        return self.http.put(
            f"/api/v1/{path}",
            body if isinstance(body, str | bytes) else json.dumps(body),
            content_type="application/json",
            headers=self._headers(),
        )

    def delete(self, path: str) -> Any:
        return self.http.delete(f"/api/v1/{path}", headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def nonce(self) -> str:
        return str(self.post("auth/nonce", {}).json()["nonce"])

    def message(self, nonce: str, **changes: Any) -> str:
        parts = {
            "domain": django_settings.DOMAIN,
            "address": self.account.address,
            "chain_id": django_settings.CHAIN_ID,
            "issued_at": clock.iso_ms(clock.now_us()),
            "tail": "",
        } | changes
        return (
            f"{parts['domain']} wants you to sign in with your Ethereum account:\n"
            f"{parts['address']}\n\nSign in to TapTrading.\n\n"
            f"URI: http://{django_settings.DOMAIN}/\nVersion: 1\nChain ID: {parts['chain_id']}\n"
            f"Nonce: {nonce}\nIssued At: {parts['issued_at']}{parts['tail']}"
        )

    def login(self, message: str) -> Any:
        return self.post("auth/login", {"message": message, "signature": self.sign(message)})

    def sign_in(self) -> "Trader":
        reply = self.login(self.message(self.nonce()))
        assert reply.status_code == 200, reply.content
        self.token = reply.json()["token"]
        self.http.cookies.clear()
        return self

    def deposit(self, usdc: int) -> Any:
        return self.post("deposits", {"amount_micros": usdc * USDC})

    def withdrawal(self, amount_micros: int, **changes: Any) -> dict[str, Any]:
        body: dict[str, Any] = {
            "amount_micros": amount_micros,
            "to_address": self.address,
            "nonce": str(uuid.uuid4()),
            "timestamp": clock.now_s(),
            "chain_id": django_settings.CHAIN_ID,
        } | changes
        text = signing.withdrawal_text(
            django_settings.DOMAIN,
            django_settings.CHAIN_ID,
            self.address,
            body["amount_micros"],
            body["to_address"].lower(),
            body["nonce"],
            body["timestamp"],
        )
        return {"signature": self.sign(text)} | body

    def session_key(self, key: str, **changes: Any) -> dict[str, Any]:
        body: dict[str, Any] = {
            "wallet": self.address,
            "key": key,
            "label": "phone",
            "expires_at": clock.now_s() + 3_600,
            "max_stake_micros": 5 * USDC,
            "max_total_micros": 50 * USDC,
            "nonce": str(uuid.uuid4()),
            "timestamp": clock.now_s(),
            "chain_id": django_settings.CHAIN_ID,
        } | changes
        text = signing.session_key_text(
            django_settings.DOMAIN,
            django_settings.CHAIN_ID,
            body["wallet"].lower(),
            body["key"].lower(),
            body["label"],
            body["max_stake_micros"],
            body["max_total_micros"],
            body["expires_at"],
            body["nonce"],
            body["timestamp"],
        )
        return {"signature": self.sign(text)} | body


@pytest.fixture
def stranger(http: Client) -> Trader:
    """Has never signed in."""
    return Trader(http, "0x" + "22" * 32)


@pytest.fixture
def trader(http: Client) -> Trader:
    """Signed in, with an empty wallet."""
    return Trader(http).sign_in()
