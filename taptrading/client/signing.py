"""The trader's own signing: keys, the texts of the contract, and who may say what with them.

Written from the contract alone and shared with nobody, so that the platform's verifier is
checked by a stranger. Knows no network and no clock.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Final, Self

import coincurve
import sha3

_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def keccak_256(data: bytes) -> bytes:
    return bytes(sha3.keccak_256(data).digest())


def checksum_address(address: str) -> str:
    """The EIP-55 form of an address in any case."""
    digits = address.lower().removeprefix("0x")
    digest = keccak_256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, digest, strict=False)
    )


def eip191_hash(text: str) -> bytes:
    """What `personal_sign` signs."""
    message = text.encode()
    return keccak_256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)


class LocalKey:
    """A private key held in this process's memory."""

    def __init__(self, secret: bytes) -> None:
        self._key = coincurve.PrivateKey(secret)
        public = self._key.public_key.format(compressed=False)
        self.address: Final = "0x" + keccak_256(public[1:])[-20:].hex()

    @classmethod
    def random(cls) -> Self:
        return cls(_secret(secrets.token_bytes(32)))

    @classmethod
    def from_seed(cls, seed: str) -> Self:
        """The same key for the same seed, for runs that can be repeated. Guards no real money."""
        return cls(_secret(hashlib.sha256(f"TapTrading seed {seed}".encode()).digest()))

    def sign_text(self, text: str) -> str:
        """`0x` and 130 hex digits: r, s (low), v 27 or 28."""
        signature = self._key.sign_recoverable(eip191_hash(text), hasher=None)
        return "0x" + signature[:64].hex() + f"{27 + signature[64]:02x}"

    def __repr__(self) -> str:
        return f"LocalKey({self.address})"


def _secret(entropy: bytes) -> bytes:
    return (int.from_bytes(entropy) % (_CURVE_ORDER - 1) + 1).to_bytes(32)


def _lines(title: str, fields: Iterable[tuple[str, str | int]]) -> str:
    return "\n".join([f"Tap Trading {title}", *(f"{name}: {value}" for name, value in fields)])


def bet_text(
    *,
    domain: str,
    chain_id: int,
    wallet: str,
    cell_id: str,
    stake_micros: int,
    min_rate_bps: int,
    nonce: str,
    timestamp: int,
) -> str:
    return _lines(
        "Bet",
        [
            ("Action", "place_bet"),
            ("Domain", domain),
            ("Wallet", wallet.lower()),
            ("Cell", cell_id),
            ("Stake", stake_micros),
            ("MinRate", min_rate_bps),
            ("Nonce", nonce),
            ("Timestamp", timestamp),
            ("Chain", chain_id),
            ("Version", 1),
        ],
    )


def withdrawal_text(
    *,
    domain: str,
    chain_id: int,
    wallet: str,
    amount_micros: int,
    to_address: str,
    nonce: str,
    timestamp: int,
) -> str:
    return _lines(
        "Withdrawal",
        [
            ("Action", "withdraw"),
            ("Domain", domain),
            ("Wallet", wallet.lower()),
            ("Amount", amount_micros),
            ("To", to_address.lower()),
            ("Nonce", nonce),
            ("Timestamp", timestamp),
            ("Chain", chain_id),
            ("Version", 1),
        ],
    )


def session_key_text(
    *,
    domain: str,
    chain_id: int,
    wallet: str,
    key: str,
    label: str,
    max_stake_micros: int,
    max_total_micros: int,
    expires_at: int,
    nonce: str,
    timestamp: int,
) -> str:
    return _lines(
        "Session Key",
        [
            ("Action", "authorize_key"),
            ("Domain", domain),
            ("Wallet", wallet.lower()),
            ("Key", key.lower()),
            ("Label", label),
            ("MaxStake", max_stake_micros),
            ("MaxTotal", max_total_micros),
            ("Expires", expires_at),
            ("Nonce", nonce),
            ("Timestamp", timestamp),
            ("Chain", chain_id),
            ("Version", 1),
        ],
    )


def sign_in_text(
    *, domain: str, chain_id: int, address: str, uri: str, nonce: str, issued_at: str
) -> str:
    """An EIP-4361 message. `issued_at` is RFC 3339."""
    return (
        f"{domain} wants you to sign in with your Ethereum account:\n"
        f"{checksum_address(address)}\n"
        "\n"
        "Sign in to TapTrading.\n"
        "\n"
        f"URI: {uri}\n"
        "Version: 1\n"
        f"Chain ID: {chain_id}\n"
        f"Nonce: {nonce}\n"
        f"Issued At: {issued_at}"
    )
