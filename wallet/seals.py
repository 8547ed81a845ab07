"""The hash chain over committed batches: seal = SHA-256(previous seal || leaf 1 || ... || leaf n).

A leaf is the SHA-256 of the canonical text of one ledger entry. Pure.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

GENESIS: Final = bytes(32)
_TEXT: Final = "%d|%d|%d|%d|%s|%s|%d|%d|%d"


class Entry(NamedTuple):
    """One row of the ledger, in the order of its columns."""

    id: int
    debit_wallet_id: int
    credit_wallet_id: int
    amount_micros: int
    kind: str
    reference: str
    debit_balance_after_micros: int
    credit_balance_after_micros: int
    created_at_us: int


def leaf(entry: Entry) -> bytes:
    """SHA-256 of the entry's columns as decimal text, joined by `|`; none of them holds one."""
    return sha256((_TEXT % entry).encode()).digest()


def seal(previous: bytes, leaves: Iterable[bytes]) -> bytes:
    return sha256(previous + b"".join(leaves)).digest()
