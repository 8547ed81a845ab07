"""Where the money of one wallet went: its entries summed by kind, and each line where its chain of
balances breaks. What was archived is one sum: the balance that it left."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.db import connection

from ops.integrity.checkpoint import balances_at, start
from ops.integrity.dialects import snapshot

BREAKS_SHOWN: Final = 20
NEWEST_SHOWN: Final = 20

_WALLET: Final = (
    "SELECT id, kind, address, balance_micros, held_micros, open_stake_micros, frozen"
    " FROM wallet_wallet WHERE {column} = %s"
)
# Both sides' indexes, merged: no sort of the whole history.
_ENTRIES: Final = (
    "SELECT id, kind, reference, -amount_micros, debit_balance_after_micros, credit_wallet_id,"
    " created_at FROM wallet_ledgerentry WHERE debit_wallet_id = %s AND id > %s"
    " UNION ALL"
    " SELECT id, kind, reference, amount_micros, credit_balance_after_micros, debit_wallet_id,"
    " created_at FROM wallet_ledgerentry WHERE credit_wallet_id = %s AND id > %s"
    " ORDER BY 1"
)


class UnknownWallet(LookupError):
    """No wallet has this id or address."""


class Line(NamedTuple):
    """An entry as the wallet sees it: `amount_micros` is positive for money in."""

    entry_id: int
    kind: str
    reference: str
    amount_micros: int
    balance_after_micros: int
    other_wallet: int
    created_at: int


class Sum(NamedTuple):
    entries: int
    in_micros: int
    out_micros: int


class Break(NamedTuple):
    """A line that does not start where the one before it ended."""

    line: Line
    expected_after_micros: int


class Explanation(NamedTuple):
    """`sum_micros` is what the entries leave, which `balance_micros` must be. They begin after the
    segment `archived_until`, which left `opening_micros`; "" and 0: nothing was archived."""

    wallet: dict[str, Any]
    archived_until: str
    opening_micros: int
    entries: int
    sum_micros: int
    by_kind: dict[str, Sum]
    breaks: int
    first_breaks: list[Break]
    newest: list[Line]

    @property
    def adds_up(self) -> bool:
        return self.breaks == 0 and self.sum_micros == self.wallet["balance_micros"]

    def json(self) -> dict[str, Any]:
        return {
            "adds_up": self.adds_up,
            "wallet": self.wallet,
            "archived_until": self.archived_until,
            "opening_micros": self.opening_micros,
            "entries": self.entries,
            "sum_micros": self.sum_micros,
            "by_kind": {kind: found._asdict() for kind, found in self.by_kind.items()},
            "breaks": self.breaks,
            "first_breaks": [
                {**found.line._asdict(), "expected_after_micros": found.expected_after_micros}
                for found in self.first_breaks
            ],
            "newest": [line._asdict() for line in self.newest],
        }


def explain(which: str) -> Explanation:
    """`which`: an address, or the id of a wallet. Raises UnknownWallet."""
    with snapshot(connection):
        wallet = _wallet(which)
        began = start(connection)
        opening = balances_at(connection, began.segment_id).get(wallet["id"], 0)
        return _read(wallet, began.name, opening, _lines(wallet["id"], began.entry_id))


def _wallet(which: str) -> dict[str, Any]:
    if which.isascii() and which.isdecimal() and len(which) < 20:
        column, value = "id", str(int(which))
    else:
        column, value = "address", which.lower()
    with connection.cursor() as cursor:
        cursor.execute(_WALLET.format(column=column), [value])
        row = cursor.fetchone()
    if row is None:
        raise UnknownWallet(which)
    names = ("id", "kind", "address", "balance_micros", "held_micros", "open_stake_micros")
    return {**dict(zip(names, row, strict=False)), "frozen": bool(row[-1])}


def _lines(wallet_id: int, after: int) -> Iterator[Line]:
    with connection.cursor() as cursor:
        cursor.execute(_ENTRIES, [wallet_id, after, wallet_id, after])
        while rows := cursor.fetchmany(1_000):
            yield from map(Line._make, rows)


def _read(
    wallet: dict[str, Any], archived_until: str, opening_micros: int, lines: Iterator[Line]
) -> Explanation:
    by_kind: dict[str, Sum] = {}
    first_breaks: list[Break] = []
    newest: list[Line] = []
    entries = breaks = 0
    sum_micros = after = opening_micros
    for line in lines:
        entries += 1
        amount = line.amount_micros
        sum_micros += amount
        count, paid_in, paid_out = by_kind.get(line.kind, Sum(0, 0, 0))
        by_kind[line.kind] = Sum(count + 1, paid_in + max(amount, 0), paid_out + max(-amount, 0))
        if line.balance_after_micros != after + amount:
            breaks += 1
            if len(first_breaks) < BREAKS_SHOWN:
                first_breaks.append(Break(line, after + amount))
        after = line.balance_after_micros
        newest.append(line)
        if len(newest) > NEWEST_SHOWN:
            del newest[0]
    return Explanation(
        *(wallet, archived_until, opening_micros, entries, sum_micros),
        *(by_kind, breaks, first_breaks, newest[::-1]),
    )
