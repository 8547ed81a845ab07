"""What a trader reads of their own: wallet, deposits, withdrawals and session keys, as rows."""

from typing import Any, Final, NamedTuple

from django.conf import settings

from taptrading import clock
from taptrading.rows import Rows, hyphenated


class WalletRow(NamedTuple):
    id: int
    address: str
    balance_micros: int
    held_micros: int
    open_stake_micros: int
    frozen: int

    def json(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "balance_micros": self.balance_micros,
            "held_micros": self.held_micros,
            "open_stake_micros": self.open_stake_micros,
            "frozen": bool(self.frozen),
        }


class DepositRow(NamedTuple):
    id: int
    status: str
    amount_micros: int
    created_at: int

    def json(self) -> dict[str, Any]:
        return {
            "deposit_id": str(self.id),
            "status": self.status,
            "amount_micros": self.amount_micros,
            "created_at": clock.iso_ms(self.created_at),
        }


class WithdrawalRow(NamedTuple):
    id: int
    status: str
    amount_micros: int
    to_address: str
    created_at: int

    def json(self) -> dict[str, Any]:
        return {
            "withdrawal_id": str(self.id),
            "status": self.status,
            "amount_micros": self.amount_micros,
            "to_address": self.to_address,
            "created_at": clock.iso_ms(self.created_at),
        }


class SessionKeyRow(NamedTuple):
    id: int
    address: str
    label: str
    expires_at: int
    max_stake_micros: int
    max_total_micros: int
    used_micros: int
    nonce: str
    timestamp: int
    signature: bytes
    revoked_at: int | None

    def json(self, wallet: str) -> dict[str, Any]:
        """`wallet`: the address of the wallet that the key signs for."""
        return {
            "key_id": str(self.id),
            "wallet": wallet,
            "key": self.address,
            "label": self.label,
            "expires_at": self.expires_at // clock.US_PER_S,
            "max_stake_micros": self.max_stake_micros,
            "max_total_micros": self.max_total_micros,
            "used_micros": self.used_micros,
            "nonce": hyphenated(self.nonce),
            "timestamp": self.timestamp,
            "chain_id": settings.CHAIN_ID,
            "signature": "0x" + bytes(self.signature).hex(),
            "revoked_at": None if self.revoked_at is None else clock.iso_ms(self.revoked_at),
        }


WALLETS: Final = Rows("wallet_wallet", WalletRow)
DEPOSITS: Final = Rows("wallet_deposit", DepositRow)
WITHDRAWALS: Final = Rows("wallet_withdrawal", WithdrawalRow)
SESSION_KEYS: Final = Rows("wallet_sessionkey", SessionKeyRow)
