"""A long, consistent past, written straight into the tables: bets, entries, seals, settlements.

As the writer would have left it, with true balances, seals and evidence, so that the integrity
check finds nothing; but in bulk, without its transactions. Every bet is resolved: nothing of it
is picked up by a platform that is started on it.
"""

import itertools
import math
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bets.resolution import ColumnDecision, Vertex, deflate_evidence, resolve_column, touches
from taptrading.limits import LIMITS, PRESETS_MICROS
from taptrading.money import payout_micros
from tests.stack import ROOT
from wallet import seals
from wallet.ids import CUSTODY, HOUSE, IdMint
from wallet.seals import Entry

DATABASE: Final = "taptrading.sqlite3"
DEPOSIT_MICROS: Final = 1_000_000_000_000
FUNDING_MICROS: Final = 100_000_000_000_000
COLUMN_BETS: Final = 5_000
BATCH: Final = 250

_BANDS: Final = LIMITS.bands
_TOUCHED: Final = 4
_RATE_BPS: Final = 10_000 * _BANDS // _TOUCHED * 97 // 100
_LOWEST_CENTS: Final = 9_500_000 - 12 * LIMITS.band_cents
_REJECTED_EVERY: Final = 20
_VOID_EVERY: Final = 50
_SPACING_S: Final = 60  # a column's bets are all resolved before the next one's are taken
_DAY_S: Final = 86_400
_SIGNATURE: Final = bytes(64) + b"\x1b"

_BET_COLUMNS: Final = (
    "id, wallet_id, house_id, column_start, low_cents, high_cents, taken_low_cents, stake_micros,"
    " min_rate_bps,"
    " nonce, timestamp, signature, status, reason, rate_bps, pricing_tick, payout_micros, cursor,"
    " accepted_at, confirmed_at, resolved_at"
)
_SETTLEMENT_COLUMNS: Final = (
    "column_start, state, reason, open_cents, low_cents, high_cents, close_cents, ticks,"
    " max_gap_ms, sources, ticks_sha256, evidence, decided_at"
)


class History(NamedTuple):
    """How many rows were written."""

    bets: int
    entries: int
    seals: int


def migrated(folder: Path) -> Path:
    """An empty database with all tables, where `tests.stack.running(folder)` looks for it."""
    data = folder / "data"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(data)},
        check=True,
    )
    return data / DATABASE


def some_addresses(count: int) -> list[str]:
    """For wallets that nobody will sign for."""
    return [f"0x{number:040x}" for number in range(1, count + 1)]


def write(path: Path, bets: int, addresses: Sequence[str], until_s: int | None = None) -> History:
    """Fill a migrated, empty database with resolved bets of these wallets.

    `until_s`: when the past ends; a day ago if not said.
    """
    end_s = int(time.time()) - _DAY_S if until_s is None else until_s
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        with _in_bulk(database):
            author = _Author(database, bets, addresses, end_s)
            author.open_wallets()
            author.play()
            author.close_books()
        return author.written()


@contextmanager
def _in_bulk(database: sqlite3.Connection) -> Iterator[None]:
    """One transaction, without a journal; the indexes that can be are built afterwards."""
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-2000000"):
        database.execute(f"PRAGMA {pragma}")
    indexes = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        " AND tbl_name IN ('bets_bet', 'wallet_ledgerentry')"
    ).fetchall()
    database.execute("BEGIN")
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    yield
    for _, statement in indexes:
        database.execute(statement)
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode=WAL")


class _Author:
    def __init__(
        self, database: sqlite3.Connection, bets: int, addresses: Sequence[str], end_s: int
    ) -> None:
        self._database = database
        self._addresses = addresses
        self._ids = IdMint()
        self._random = random.Random(bets)
        self._left = bets
        self._column_bets = min(COLUMN_BETS, len(addresses) * _BANDS)
        self._columns = math.ceil(bets / self._column_bets)
        start_s = end_s - (self._columns + 1) * _SPACING_S
        self._start_s = start_s - start_s % _SPACING_S
        self._wallet_ids: list[int] = []
        self._balances = dict.fromkeys((CUSTODY, HOUSE), 0)
        self._cursors: dict[int, int] = {}
        self._seal = seals.GENESIS
        self._counts = dict.fromkeys(("bets", "entries", "seals"), 0)
        cells = len(addresses) * _BANDS
        self._step = next(n for n in itertools.count(int(cells * 0.618)) if math.gcd(n, cells) == 1)
        self._place = 0

    def written(self) -> History:
        return History(**self._counts)

    def open_wallets(self) -> None:
        """Open, fund and credit, by the way money takes."""
        now_us = (self._start_s - 2 * _SPACING_S) * 1_000_000
        self._wallet_ids = [self._ids.next(now_us) for _ in self._addresses]
        self._balances.update(dict.fromkeys(self._wallet_ids, 0))
        self._cursors = dict.fromkeys(self._wallet_ids, 1)
        entries = [self._move("FUNDING", CUSTODY, HOUSE, FUNDING_MICROS, "demo", now_us)]
        transfers = [("funding:demo", "", FUNDING_MICROS, now_us)]
        deposits, events = [], []
        for wallet_id, address in zip(self._wallet_ids, self._addresses, strict=True):
            pk = self._ids.next(now_us)
            name = f"deposit:{pk}"
            deposits.append((pk, wallet_id, DEPOSIT_MICROS, "completed", now_us, now_us))
            event = (f"local:{name}", "deposit.confirmed", str(pk), address, DEPOSIT_MICROS)
            events.append((self._ids.next(now_us), *event, "applied", now_us))
            transfers.append((name, address, DEPOSIT_MICROS, now_us))
            entries.append(self._move("DEPOSIT", CUSTODY, wallet_id, DEPOSIT_MICROS, name, now_us))
        self._insert(
            "wallet_deposit",
            "id, wallet_id, amount_micros, status, created_at, completed_at",
            deposits,
        )
        self._insert(
            "wallet_custodyevent",
            "id, event_id, type, reference, address, amount_micros, outcome, created_at",
            events,
        )
        self._insert("wallet_localtransfer", "key, address, amount_micros, created_at", transfers)
        self._record(entries, now_us)

    def play(self) -> None:
        for number in range(self._columns):
            self._play_column(number, self._start_s + number * _SPACING_S)

    def close_books(self) -> None:
        """The wallets as the entries left them."""
        opened_us = (self._start_s - 2 * _SPACING_S) * 1_000_000
        self._insert(
            "wallet_wallet",
            "id, kind, address, balance_micros, held_micros, open_stake_micros, cursor, frozen,"
            " created_at",
            [
                (pk, "player", address, self._balances[pk], 0, 0, self._cursors[pk], 0, opened_us)
                for pk, address in zip(self._wallet_ids, self._addresses, strict=True)
            ],
        )
        self._database.executemany(
            "UPDATE wallet_wallet SET balance_micros = ? WHERE id = ?",
            [(self._balances[pk], pk) for pk in (CUSTODY, HOUSE)],
        )

    def _play_column(self, number: int, column_start: int) -> None:
        decision = _decision(column_start, void=number % _VOID_EVERY == _VOID_EVERY - 1)
        settled_us = (column_start + LIMITS.column_s) * 1_000_000 + 200_000
        self._insert("bets_settlement", _SETTLEMENT_COLUMNS, [_settlement(decision, settled_us)])
        count = min(self._column_bets, self._left)
        self._left -= count
        payments: list[tuple[str, int, int, int]] = []
        now_us = (column_start - 30) * 1_000_000
        for first in range(0, count, BATCH):
            self._take(range(first, min(first + BATCH, count)), now_us, decision, payments)
            now_us += 200_000
        for first in range(0, len(payments), BATCH):
            batch = payments[first : first + BATCH]
            now_us = settled_us + first
            entries = [
                self._move(kind, HOUSE, wallet_id, amount, f"bet:{bet_id}", now_us)
                for kind, bet_id, wallet_id, amount in batch
            ]
            self._record(entries, now_us)

    def _take(
        self,
        numbers: range,
        now_us: int,
        decision: ColumnDecision,
        payments: list[tuple[str, int, int, int]],
    ) -> None:
        """One batch of bets of one column, as they are in the end; what is still to be paid."""
        column_start = decision.column_start
        priced_us = now_us + 300_000
        resolved_us = (column_start + LIMITS.column_s) * 1_000_000 + 200_000
        rows, stakes, refunds = [], [], []
        for number in numbers:
            bet_id = self._ids.next(now_us)
            wallet_id, low_cents, stake = self._cell(number)
            cursor = self._cursors[wallet_id] = self._cursors[wallet_id] + 3
            reference = f"bet:{bet_id}"
            stakes.append(self._move("STAKE", wallet_id, HOUSE, stake, reference, now_us))
            ending: tuple[object, ...]
            if number % _REJECTED_EVERY == _REJECTED_EVERY - 1:
                refunds.append((wallet_id, stake, reference))
                ending = ("rejected", "rate_moved", None, 1, None, cursor, now_us, None, None)
            else:
                status, paid = _outcome(decision, low_cents, stake)
                times = (now_us, priced_us, resolved_us)
                ending = (status, decision.reason, _RATE_BPS, 1, paid, cursor, *times)
                if paid:
                    kind = "REFUND" if status == "void" else "PAYOUT"
                    payments.append((kind, bet_id, wallet_id, paid))
            rows.append(
                (
                    *(bet_id, wallet_id, HOUSE, column_start),
                    *(low_cents, low_cents + LIMITS.band_cents),
                    *(None if ending[0] == "rejected" else low_cents, stake, _RATE_BPS - 100),
                    *(self._random.randbytes(16).hex(), now_us // 1_000_000, _SIGNATURE),
                    *ending,
                )
            )
        self._record(stakes, now_us)
        self._record(
            [self._move("REFUND", HOUSE, *refund, priced_us) for refund in refunds],
            priced_us,
        )
        self._insert("bets_bet", _BET_COLUMNS, rows)
        self._counts["bets"] += len(rows)

    def _cell(self, number: int) -> tuple[int, int, int]:
        """A wallet and a band that this column has not seen, and a stake."""
        self._place = (self._place + self._step) % (len(self._wallet_ids) * _BANDS)
        wallet, band = divmod(self._place, _BANDS)
        stake = PRESETS_MICROS[number % len(PRESETS_MICROS)]
        return self._wallet_ids[wallet], _LOWEST_CENTS + band * LIMITS.band_cents, stake

    def _move(
        self, kind: str, debit: int, credit: int, amount: int, reference: str, now_us: int
    ) -> Entry:
        balances = self._balances
        debit_after = balances[debit] = balances[debit] - amount
        credit_after = balances[credit] = balances[credit] + amount
        entry_id = self._ids.next(now_us)
        return Entry(
            entry_id, debit, credit, amount, kind, reference, debit_after, credit_after, now_us
        )

    def _record(self, entries: list[Entry], now_us: int) -> None:
        """One batch of entries under its seal."""
        if not entries:
            return
        previous = self._seal
        self._seal = seals.seal(previous, map(seals.leaf, entries))
        self._counts["entries"] += len(entries)
        self._counts["seals"] += 1
        self._insert(
            "wallet_ledgerentry",
            "id, debit_wallet_id, credit_wallet_id, amount_micros, kind, reference,"
            " debit_balance_after_micros, credit_balance_after_micros, created_at",
            entries,
        )
        span = (entries[0].id, entries[-1].id, len(entries))
        self._insert(
            "wallet_seal",
            "id, first_entry_id, last_entry_id, entries, previous, seal, created_at",
            [(self._counts["seals"], *span, previous, self._seal, now_us)],
        )

    def _insert(self, table: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
        values = ", ".join("?" * len(columns.split(",")))
        self._database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", rows)


def _decision(column_start: int, *, void: bool) -> ColumnDecision:
    """A path that touches four bands in the middle; with `void`, one with a gap."""
    lowest = _LOWEST_CENTS + (_BANDS - _TOUCHED) // 2 * LIMITS.band_cents
    span = _TOUCHED * LIMITS.band_cents - 1
    last = LIMITS.column_s * LIMITS.index_hz
    vertices = [
        Vertex(
            seq=number + 1,
            at_ms=column_start * 1_000 + number * LIMITS.tick_ms,
            price_cents=lowest + span * number // last,
            recorded_at_us=column_start * 1_000_000 + number * LIMITS.tick_ms * 1_000,
            sources="simulated",
        )
        for number in range(last + 1)
    ]
    counted = [vertices[0], vertices[-1]] if void else vertices
    decision = resolve_column(column_start, counted, vertices[-1].recorded_at_us)
    assert decision is not None
    return decision


def _settlement(decision: ColumnDecision, now_us: int) -> tuple[object, ...]:
    values = {name: getattr(decision, name) for name in ColumnDecision.__slots__}
    values |= {"evidence": deflate_evidence(decision.evidence), "decided_at": now_us}
    return tuple(values[name.strip()] for name in _SETTLEMENT_COLUMNS.split(","))


def _outcome(decision: ColumnDecision, low_cents: int, stake_micros: int) -> tuple[str, int]:
    """Status and payment of a confirmed bet."""
    if decision.low_cents is None or decision.high_cents is None:
        return "void", stake_micros
    high_cents = low_cents + LIMITS.band_cents
    if touches(decision.low_cents, decision.high_cents, low_cents, high_cents):
        return "won", payout_micros(stake_micros, _RATE_BPS)
    return "lost", 0
