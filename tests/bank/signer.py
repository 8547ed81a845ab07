"""A wallet's key and what it signs, by the contract's words alone: coincurve and keccak."""

import hashlib
import hmac
import json
import random
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import sha3
from coincurve import PrivateKey
from eth_utils import to_checksum_address

VERSION: Final = "Version: 1"


def keccak(data: bytes) -> bytes:
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


class Signer:
    """`domain` and `chain_id` are those of the platform's config."""

    def __init__(self, rng: random.Random, domain: str, chain_id: int) -> None:
        self._key = PrivateKey(rng.randbytes(32))
        self.address = "0x" + keccak(self._key.public_key.format(compressed=False)[1:])[-20:].hex()
        self._rng = rng
        self._domain = domain
        self._chain_id = chain_id

    def sign(self, text: str) -> str:
        raw = text.encode()
        digest = keccak(b"\x19Ethereum Signed Message:\n%d" % len(raw) + raw)
        signed = self._key.sign_recoverable(digest, hasher=None)
        return f"0x{signed[:64].hex()}{27 + signed[64]:02x}"

    def nonce(self) -> str:
        return str(uuid.UUID(bytes=self._rng.randbytes(16), version=4))

    def sign_in(self, nonce: str, now_s: int) -> dict[str, str]:
        issued = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = (
            f"{self._domain} wants you to sign in with your Ethereum account:\n"
            f"{to_checksum_address(self.address)}\n\nSign in to TapTrading.\n\n"
            f"URI: http://{self._domain}\nVersion: 1\nChain ID: {self._chain_id}\n"
            f"Nonce: {nonce}\nIssued At: {issued}"
        )
        return {"message": message, "signature": self.sign(message)}

    def bet(
        self,
        cell_id: str,
        stake_micros: int,
        min_rate_bps: int,
        now_s: int,
        *,
        nonce: str = "",
        wallet: str = "",
    ) -> dict[str, Any]:
        """For `wallet`, if it is another than the signer's own."""
        wallet, nonce = wallet or self.address, nonce or self.nonce()
        lines = [
            f"Wallet: {wallet}",
            f"Cell: {cell_id}",
            f"Stake: {stake_micros}",
            f"MinRate: {min_rate_bps}",
        ]
        body = {
            "wallet": wallet,
            "cell_id": cell_id,
            "stake_micros": stake_micros,
            "min_rate_bps": min_rate_bps,
        }
        return self._signed("Tap Trading Bet", "place_bet", lines, body, nonce, now_s)

    def withdrawal(self, amount_micros: int, now_s: int, *, nonce: str = "") -> dict[str, Any]:
        lines = [f"Wallet: {self.address}", f"Amount: {amount_micros}", f"To: {self.address}"]
        body = {"amount_micros": amount_micros, "to_address": self.address}
        nonce = nonce or self.nonce()
        return self._signed("Tap Trading Withdrawal", "withdraw", lines, body, nonce, now_s)

    def session_key(
        self, key: str, max_stake_micros: int, max_total_micros: int, expires_s: int, now_s: int
    ) -> dict[str, Any]:
        lines = [
            f"Wallet: {self.address}",
            f"Key: {key}",
            "Label: bank",
            f"MaxStake: {max_stake_micros}",
            f"MaxTotal: {max_total_micros}",
            f"Expires: {expires_s}",
        ]
        body = {
            "wallet": self.address,
            "key": key,
            "label": "bank",
            "expires_at": expires_s,
            "max_stake_micros": max_stake_micros,
            "max_total_micros": max_total_micros,
        }
        title, action = "Tap Trading Session Key", "authorize_key"
        return self._signed(title, action, lines, body, self.nonce(), now_s)

    def _signed(
        self,
        title: str,
        action: str,
        lines: list[str],
        body: dict[str, Any],
        nonce: str,
        now_s: int,
    ) -> dict[str, Any]:
        text = "\n".join(
            [
                title,
                f"Action: {action}",
                f"Domain: {self._domain}",
                *lines,
                f"Nonce: {nonce}",
                f"Timestamp: {now_s}",
                f"Chain: {self._chain_id}",
                VERSION,
            ]
        )
        rest = {"nonce": nonce, "timestamp": now_s, "chain_id": self._chain_id}
        return {**body, **rest, "signature": self.sign(text)}


def custody_event(secret: str, now_s: int, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a custodian's event."""

    body = json.dumps(fields).encode()
    message = f"{now_s}.".encode() + body
    signature = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return body, {"X_Custody_Timestamp": str(now_s), "X_Custody_Signature": signature}
