"""The bound of the writer: the same rows, inserted in the same batches by bare statements.

One connection of the driver itself, the same file settings and synchronous=FULL. No decisions,
no Redis, no seals, no ids to mint: what is left is what the database takes.
"""

import random
import time
from pathlib import Path
from typing import Final

import pysqlite3 as sqlite3

from tests.benchmarks import history
from wallet.ids import HOUSE

STAKE_MICROS: Final = 1_000_000
_BET: Final = (
    "INSERT INTO bets_bet (id, wallet_id, house_id, column_start, low_cents, taken_low_cents,"
    " high_cents, stake_micros, min_rate_bps, nonce, timestamp, signature, status, reason, cursor,"
    " accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'accepted', '', ?, ?)"
)
_ENTRY: Final = (
    "INSERT INTO wallet_ledgerentry (id, debit_wallet_id, credit_wallet_id, amount_micros, kind,"
    " reference, debit_balance_after_micros, credit_balance_after_micros, created_at)"
    " VALUES (?, ?, ?, ?, 'STAKE', ?, ?, ?, ?)"
)
_WALLET: Final = (
    "UPDATE wallet_wallet SET balance_micros = balance_micros - ?, cursor = cursor + 1 WHERE id = ?"
)


def per_second(folder: Path, bets: int, batch: int, wallets: int) -> float:
    """Bets stored a second: a bet, its entry and its wallet's balance each, `batch` a commit."""
    path = history.migrated(folder)
    history.write(path, wallets, history.some_addresses(wallets))
    with sqlite3.connect(path, isolation_level=None) as database:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"):
            database.execute(f"PRAGMA {pragma}")
        ids = [i for (i,) in database.execute("SELECT id FROM wallet_wallet WHERE kind = 'player'")]
        (last,) = database.execute("SELECT max(id) FROM wallet_ledgerentry").fetchone()
        took_s = 0.0
        for first in range(0, bets, batch):
            rows = [
                _rows(last + 2 * n + 1, random.choice(ids), n) for n in range(first, first + batch)
            ]
            started = time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.executemany(_BET, [bet for bet, _, _ in rows])
            database.executemany(_ENTRY, [entry for _, entry, _ in rows])
            database.executemany(_WALLET, [wallet for _, _, wallet in rows])
            database.execute("COMMIT")
            took_s += time.perf_counter() - started
    return bets / took_s


_Row = tuple[int | str | bytearray, ...]


def _rows(id: int, wallet_id: int, number: int) -> tuple[_Row, _Row, _Row]:
    now_us = 1_900_000_000_000_000 + number
    column, low = 1_900_000_000 + number // 100 * 5, 9_000_000 + number % 100 * 1_000
    signature = bytearray(65)
    nonce = random.getrandbits(128).to_bytes(16).hex()
    bet: _Row = (
        *(id, wallet_id, HOUSE, column, low, low, low + 1_000, STAKE_MICROS, 10_100),
        *(nonce, now_us // 1_000_000, signature, number, now_us),
    )
    entry = (id + 1, wallet_id, HOUSE, STAKE_MICROS, f"bet:{id}", number, number, now_us)
    return bet, entry, (0, wallet_id)
