"""Requests that carry a signature: made once, sent as often as it takes, never changed.

Sending the same one again cannot bet or withdraw twice: its nonce is spent with it.
"""

import secrets
import uuid
from typing import Self

import msgspec

from taptrading.client.shapes import Config
from taptrading.client.signing import (
    LocalKey,
    bet_text,
    session_key_text,
    withdrawal_text,
)


def new_nonce() -> str:
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    nonce: str
    timestamp: int
    chain_id: int
    signature: str

    def body(self) -> bytes:
        return msgspec.json.encode(self)


class SignedBet(SignedRequest, frozen=True, kw_only=True):
    wallet: str
    cell_id: str
    stake_micros: int
    min_rate_bps: int

    @classmethod
    def by(
        cls,
        key: LocalKey,
        config: Config,
        *,
        cell_id: str,
        stake_micros: int,
        min_rate_bps: int,
        timestamp: int,
        wallet: str | None = None,
        nonce: str | None = None,
    ) -> Self:
        """`key` is the wallet's own, or a session key of `wallet`."""
        wallet = (wallet or key.address).lower()
        nonce = nonce or new_nonce()
        text = bet_text(
            domain=config.domain,
            chain_id=config.chain_id,
            wallet=wallet,
            cell_id=cell_id,
            stake_micros=stake_micros,
            min_rate_bps=min_rate_bps,
            nonce=nonce,
            timestamp=timestamp,
        )
        return cls(
            wallet=wallet,
            cell_id=cell_id,
            stake_micros=stake_micros,
            min_rate_bps=min_rate_bps,
            nonce=nonce,
            timestamp=timestamp,
            chain_id=config.chain_id,
            signature=key.sign_text(text),
        )


class SignedWithdrawal(SignedRequest, frozen=True, kw_only=True):
    amount_micros: int
    to_address: str

    @classmethod
    def by(
        cls,
        key: LocalKey,
        config: Config,
        *,
        amount_micros: int,
        timestamp: int,
        to_address: str | None = None,
    ) -> Self:
        to_address = (to_address or key.address).lower()
        nonce = new_nonce()
        text = withdrawal_text(
            domain=config.domain,
            chain_id=config.chain_id,
            wallet=key.address,
            amount_micros=amount_micros,
            to_address=to_address,
            nonce=nonce,
            timestamp=timestamp,
        )
        return cls(
            amount_micros=amount_micros,
            to_address=to_address,
            nonce=nonce,
            timestamp=timestamp,
            chain_id=config.chain_id,
            signature=key.sign_text(text),
        )


class SignedSessionKey(SignedRequest, frozen=True, kw_only=True):
    wallet: str
    key: str
    label: str
    expires_at: int
    max_stake_micros: int
    max_total_micros: int

    @classmethod
    def by(
        cls,
        wallet_key: LocalKey,
        config: Config,
        *,
        key: str,
        label: str,
        expires_at: int,
        max_stake_micros: int,
        max_total_micros: int,
        timestamp: int,
    ) -> Self:
        nonce = new_nonce()
        text = session_key_text(
            domain=config.domain,
            chain_id=config.chain_id,
            wallet=wallet_key.address,
            key=key,
            label=label,
            max_stake_micros=max_stake_micros,
            max_total_micros=max_total_micros,
            expires_at=expires_at,
            nonce=nonce,
            timestamp=timestamp,
        )
        return cls(
            wallet=wallet_key.address,
            key=key.lower(),
            label=label,
            expires_at=expires_at,
            max_stake_micros=max_stake_micros,
            max_total_micros=max_total_micros,
            nonce=nonce,
            timestamp=timestamp,
            chain_id=config.chain_id,
            signature=wallet_key.sign_text(text),
        )
