"""The ledger read once, in order: chains of balances, and seals hashed anew.

A stretch is the seals with lo < id <= hi and the entries under them. Stretches can be read side
by side, since entries and seals are append-only; `join` holds their ends together.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from ops.integrity.dialects import dialect_of
from ops.integrity.findings import Finding, Report
from wallet import seals
from wallet.ids import CUSTODY

CHECKS: Final = (
    "balances_match_entries",
    "no_negative_balance",
    "chain",
    "seals",
)
_ROWS_AT_ONCE: Final = 10_000

# id, debit, credit, amount, debit balance after, credit balance after, canonical text
_Row = tuple[int, int, int, int, int, int, bytes]

_ENTRIES: Final = (
    "SELECT id, debit_wallet_id, credit_wallet_id, amount_micros, debit_balance_after_micros,"
    " credit_balance_after_micros, {text} FROM wallet_ledgerentry WHERE id > %s AND id <= %s"
    " ORDER BY id"
)
# What `seals.leaf` hashes; a test holds the two together.
_TEXT: Final = (
    "concat_ws('|', id, debit_wallet_id, credit_wallet_id, amount_micros, kind, reference,"
    " debit_balance_after_micros, credit_balance_after_micros, created_at)"
)
_SEALS: Final = (
    "SELECT id, first_entry_id, last_entry_id, entries, previous, seal FROM wallet_seal"
    " WHERE id > %s AND id <= %s ORDER BY id"
)
_SEAL_BEFORE: Final = (
    "SELECT last_entry_id, seal FROM wallet_seal WHERE id <= %s ORDER BY id DESC LIMIT 1"
)


@dataclass(slots=True)
class Stretch:
    """What one stretch says of each wallet's balance: before its first entry there (with that
    entry's id), after its last one, and the sum of the jumps between entries that do not meet."""

    report: Report = field(default_factory=Report)
    first: dict[int, tuple[int, int]] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    jumps: dict[int, int] = field(default_factory=dict)
    entries: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seals with lo < id <= hi. `last_entry_id`: where the entries end; None: with seal hi."""

    lo: int
    hi: int
    last_entry_id: int | None = None


def divide(connection: BaseDatabaseWrapper, parts: int, start_id: int = 0) -> list[Bounds]:
    """All seals and entries of this moment after the seal of this id, in stretches of about as
    many seals."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(id) FROM wallet_seal")
        count = (cursor.fetchone()[0] or 0) - start_id
        cursor.execute("SELECT max(id) FROM wallet_ledgerentry")
        entries_max = cursor.fetchone()[0] or 0
    edges = [start_id + count * part // parts for part in range(parts + 1)]
    bounds = [Bounds(lo, hi) for lo, hi in itertools.pairwise(edges) if lo < hi]
    last = bounds.pop() if bounds else Bounds(start_id, start_id)
    return [*bounds, Bounds(last.lo, last.hi, entries_max)]


def read_stretch(connection: BaseDatabaseWrapper, bounds: Bounds) -> Stretch:
    stretch = Stretch()
    with connection.cursor() as cursor:
        start_id, previous = _seal_before(cursor, bounds.lo)
        end_id = bounds.last_entry_id
        if end_id is None:
            end_id, _ = _seal_before(cursor, bounds.hi)
        cursor.execute(_SEALS, [bounds.lo, bounds.hi])
        rows = cursor.fetchall()
    text = dialect_of(connection).entry_bytes.format(_TEXT)
    with closing(connection.chunked_cursor()) as cursor:
        cursor.execute(_ENTRIES.format(text=text), [start_id, end_id])
        entries = _Entries(cursor, stretch)
        _check_seals(rows, previous, entries, stretch.report)
        for row in entries.through(end_id):
            _unsealed(row, stretch.report)
    return stretch


def _seal_before(cursor: CursorWrapper, seal_id: int) -> tuple[int, bytes]:
    """The last entry under the seal of this id, or the nearest below, and its hash."""
    cursor.execute(_SEAL_BEFORE, [seal_id])
    row = cursor.fetchone()
    return (row[0], bytes(row[1])) if row else (0, seals.GENESIS)


class _Entries:
    """Entries in order, followed by their wallets' chains as they are read."""

    def __init__(self, cursor: CursorWrapper, stretch: Stretch) -> None:
        self._cursor = cursor
        self._stretch = stretch
        self._rows: list[_Row] = []
        self._at = 0

    def through(self, last_id: int) -> list[_Row]:
        """All entries not handed out yet with ids up to this one."""
        found: list[_Row] = []
        while True:
            end = bisect_right(self._rows, last_id, lo=self._at, key=itemgetter(0))
            found += self._rows[self._at : end]
            self._at = end
            if end < len(self._rows) or not self._refill():
                return found

    def _refill(self) -> bool:
        self._rows, self._at = self._cursor.fetchmany(_ROWS_AT_ONCE), 0
        self._stretch.entries += len(self._rows)
        _follow(self._rows, self._stretch)
        return bool(self._rows)


def _follow(rows: Iterable[_Row], stretch: Stretch) -> None:
    """Each wallet's balance after an entry is the one before it less or plus the amount."""
    last = stretch.last
    for entry_id, debit, credit, amount, debit_after, credit_after, _ in rows:
        if last.get(debit) != debit_after + amount:
            _jump(stretch, entry_id, debit, debit_after + amount)
        last[debit] = debit_after
        if last.get(credit) != credit_after - amount:
            _jump(stretch, entry_id, credit, credit_after - amount)
        last[credit] = credit_after
        if debit_after < 0 and debit != CUSTODY:
            what = f"balance of wallet {debit} after entry"
            stretch.report.add(Finding("no_negative_balance", what, entry_id, ">= 0", debit_after))


def _jump(stretch: Stretch, entry_id: int, wallet_id: int, before: int) -> None:
    """A wallet's first entry here, or one that does not start where the one before it ended."""
    ended = stretch.last.get(wallet_id)
    if ended is None:
        stretch.first[wallet_id] = (entry_id, before)
    else:
        _broken(stretch, entry_id, wallet_id, ended, before)


def _broken(stretch: Stretch, entry_id: int, wallet_id: int, ended: int, before: int) -> None:
    what = f"balance of wallet {wallet_id} before entry"
    stretch.report.add(Finding("chain", what, entry_id, ended, before))
    stretch.jumps[wallet_id] = stretch.jumps.get(wallet_id, 0) + before - ended


def _check_seals(rows: Iterable[Any], previous: bytes, entries: _Entries, report: Report) -> None:
    for seal_id, first_id, last_id, count, said_previous, said in rows:
        if bytes(said_previous) != previous:
            _wrong(report, "previous hash of seal", seal_id, previous, said_previous)
        previous = bytes(said)
        under = entries.through(last_id)
        start = bisect_left(under, first_id, key=itemgetter(0))
        for row in under[:start]:
            _unsealed(row, report)
        under = under[start:]
        found = (under[0][0], under[-1][0], len(under)) if under else None
        if found != (first_id, last_id, count):
            span = (first_id, last_id, count)
            report.add(Finding("seals", "entries under seal", seal_id, span, found))
            continue
        leaves = (sha256(row[-1]).digest() for row in under)
        recomputed = seals.seal(bytes(said_previous), leaves)
        if recomputed != previous:
            _wrong(report, "hash of seal", seal_id, recomputed, previous)


def _wrong(report: Report, what: str, seal_id: int, expected: bytes, found: bytes) -> None:
    report.add(Finding("seals", what, seal_id, bytes(expected).hex(), bytes(found).hex()))


def _unsealed(row: _Row, report: Report) -> None:
    report.add(Finding("seals", "seal over entry", row[0], "one", "none"))


def join(
    stretches: Iterable[Stretch],
    balances: Iterable[tuple[int, int]],
    opening: Mapping[int, int] | None = None,
) -> Report:
    """The findings of all stretches, in their order, with their ends compared to each other, to
    the balances before the first (`opening`; none: all began at zero) and to the wallets' balances
    at the moment of `divide`."""
    whole = Stretch(last=dict(opening or {}))
    for stretch in stretches:
        for wallet_id, (entry_id, before) in stretch.first.items():
            ended = whole.last.get(wallet_id, 0)
            if before != ended:
                _broken(whole, entry_id, wallet_id, ended, before)
        whole.last.update(stretch.last)
        for wallet_id, jump in stretch.jumps.items():
            whole.jumps[wallet_id] = whole.jumps.get(wallet_id, 0) + jump
        whole.report.merge(stretch.report)
    _compare(whole, dict(balances))
    return whole.report


def _compare(whole: Stretch, balances: dict[int, int]) -> None:
    """The sum of a wallet's entries is its last balance, less what the chain jumped."""
    for wallet_id in sorted(balances.keys() | whole.last.keys()):
        balance = balances.get(wallet_id, 0)
        total = whole.last.get(wallet_id, 0) - whole.jumps.get(wallet_id, 0)
        if total != balance:
            what = "balance of wallet"
            whole.report.add(Finding("balances_match_entries", what, wallet_id, total, balance))
