"""What a segment's file holds, how it is written, and what it says of itself.

The file is an SQLite database with the tables and columns of the live one, so that the same
statements read both. In it are the entries and seals of the stretch, with the seal before it as
the chain's anchor, the bets that had ended by the cut, and the decisions on their columns.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Model

from bets.models import Bet, Settlement
from ops.archive import gently
from ops.integrity.sql import ONCE
from taptrading import clock
from taptrading.rows import fetch
from wallet.models import LedgerEntry, Seal, Segment

# Part of the form: the digest is over lists of so many rows.
ROWS_AT_ONCE: Final = 10_000

Rows = list[tuple[Any, ...]]
Progress = Callable[[int, int], None]


def _names(model: type[Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields]


def _columns(model: type[Model]) -> str:
    return ", ".join(_names(model))


# Paid, refunded or rejected by the cut: the entry that says so lies below it. A lost bet has none.
_ENDED: Final = (
    "(status = 'lost' AND resolved_at <= %s OR status IN ('won', 'void', 'rejected')"  # noqa: S608
    f" AND EXISTS (SELECT 1 FROM wallet_ledgerentry e WHERE {ONCE} = 'PAYOUT'"
    " AND e.reference = 'bet:' || b.id AND e.id <= %s))"
)
_LIVE: Final = {
    LedgerEntry: (
        f"SELECT {_columns(LedgerEntry)} FROM wallet_ledgerentry WHERE id > %s AND id <= %s"  # noqa: S608
        " AND id >= %s ORDER BY id LIMIT %s"
    ),
    Seal: (
        f"SELECT {_columns(Seal)} FROM wallet_seal WHERE id > %s AND id <= %s"  # noqa: S608
        " AND id >= %s ORDER BY id LIMIT %s"
    ),
    Bet: (
        f"SELECT {_columns(Bet)} FROM bets_bet b WHERE id > %s AND id <= %s AND {_ENDED}"  # noqa: S608
        " ORDER BY id LIMIT %s"
    ),
}
_COUNT_BETS: Final = (
    "SELECT count(*), coalesce(sum(stake_micros), 0), coalesce(sum(payout_micros), 0)"  # noqa: S608
    f" FROM bets_bet b WHERE id <= %s AND {_ENDED}"
)
_COUNT_ENTRIES: Final = (
    "SELECT count(*), coalesce(sum(amount_micros), 0) FROM wallet_ledgerentry"
    " WHERE id >= %s AND id <= %s"
)
_SETTLEMENTS: Final = (
    f"SELECT {_columns(Settlement)} FROM bets_settlement WHERE column_start IN"  # noqa: S608
    " (SELECT value FROM json_each(%s)) ORDER BY column_start"
)
_INDEXES: Final = (
    "CREATE INDEX ledger_debit ON wallet_ledgerentry (debit_wallet_id, id)",
    "CREATE INDEX ledger_credit ON wallet_ledgerentry (credit_wallet_id, id)",
    "CREATE INDEX bet_wallet ON bets_bet (wallet_id, id)",
    "CREATE INDEX bet_nonce ON bets_bet (wallet_id, nonce)",
)
_TABLES: Final[tuple[type[Model], ...]] = (LedgerEntry, Seal, Bet, Settlement)


class NotTheSame(Exception):
    """What was copied is not what the database holds."""


class Content(NamedTuple):
    """What a file holds, as it is kept in the segment's record."""

    entries: int
    seals: int
    bets: int
    settlements: int
    first_bet_id: int | None
    last_bet_id: int | None
    amount_micros: int
    stake_micros: int
    payout_micros: int
    rows_sha256: str


def write(path: Path, segment: Segment, progress: Progress) -> Content:
    """Copy the segment's rows into a new file. Raises NotTheSame."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            file.execute(f"PRAGMA {pragma}")
        file.execute("BEGIN")
        digest = _copy(file, path, segment, progress)
        for statement in _INDEXES:
            file.execute(statement)
            gently.sync(path)
        file.execute("CREATE TABLE manifest (name TEXT PRIMARY KEY, value)")
        content = _content(file, digest)
        named = {"name": segment.name, **content._asdict()}
        file.executemany("INSERT INTO manifest VALUES (?, ?)", named.items())
        file.execute("COMMIT")
    _compare(content, segment)
    return content


def _copy(file: sqlite3.Connection, path: Path, segment: Segment, progress: Progress) -> str:
    hasher = sha256()
    done = 0
    for model in _TABLES:
        _create(file, model)
        width = len(model._meta.concrete_fields)
        insert = f"INSERT INTO {model._meta.db_table} VALUES ({', '.join('?' * width)})"  # noqa: S608
        for rows in _live(file, model, segment):
            file.executemany(insert, rows)
            hasher.update(_encode(rows))
            gently.sync(path)
            done += len(rows)
            progress(done, 0)
    return hasher.hexdigest()


def _create(file: sqlite3.Connection, model: type[Model]) -> None:
    """Columns without types keep what they are given."""
    key = model._meta.pk.column
    columns = [f"{key} INTEGER PRIMARY KEY" if name == key else name for name in _names(model)]
    file.execute(f"CREATE TABLE {model._meta.db_table} ({', '.join(columns)})")


def _live(file: sqlite3.Connection, model: type[Model], segment: Segment) -> Iterator[Rows]:
    """The rows of the live database, in order of their ids, each read by itself: what is copied
    changes no more, and nobody is kept from the write-ahead log for long."""
    if model is Settlement:
        columns = file.execute("SELECT DISTINCT column_start FROM bets_bet ORDER BY 1").fetchall()
        every = msgspec.json.encode([column for (column,) in columns]).decode()
        rows = _plain(fetch(_SETTLEMENTS, [every]))
        for first in range(0, len(rows), ROWS_AT_ONCE):
            yield rows[first : first + ROWS_AT_ONCE]
        return
    bounds: tuple[Any, ...]
    if model is LedgerEntry:
        bounds = (segment.last_entry_id, segment.first_entry_id)
    elif model is Seal:
        bounds = (segment.last_seal_id, segment.first_seal_id - 1)
    else:
        bounds = _bounds_of_bets(segment)
    after = 0
    while rows := fetch(_LIVE[model], [after, *bounds, ROWS_AT_ONCE]):
        yield _plain(rows)
        after = rows[-1][0]


def _bounds_of_bets(segment: Segment) -> tuple[int, int, int]:
    return (segment.last_entry_id, clock.to_us(segment.cut_at), segment.last_entry_id)


def _plain(rows: Rows) -> Rows:
    """As SQLite has them, whatever database they come from."""
    if connection.vendor == "sqlite":
        return rows
    return [tuple(map(_plain_value, row)) for row in rows]


def _plain_value(value: Any) -> Any:
    match value:
        case UUID():
            return value.hex
        case memoryview():
            return bytes(value)
        case _:
            return value


_encode: Final = msgspec.msgpack.Encoder().encode


def digest_of(file: sqlite3.Connection) -> str:
    """Over every row of the file, as `write` took it over those of the database."""
    hasher = sha256()
    for model in _TABLES:
        cursor = file.execute(
            f"SELECT {_columns(model)} FROM {model._meta.db_table} ORDER BY {model._meta.pk.column}"  # noqa: S608
        )
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            hasher.update(_encode(rows))
    return hasher.hexdigest()


def content_of(path: Path) -> Content:
    """What the file says when it is read from end to end. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as file:
        return _content(file, digest_of(file))


def _content(file: sqlite3.Connection, digest: str) -> Content:
    entries, amount = _one(
        file, "SELECT count(*), coalesce(sum(amount_micros), 0) FROM wallet_ledgerentry"
    )
    bets, first, last, stake, payout = _one(
        file,
        "SELECT count(*), min(id), max(id), coalesce(sum(stake_micros), 0),"
        " coalesce(sum(payout_micros), 0) FROM bets_bet",
    )
    (seals,) = _one(file, "SELECT count(*) FROM wallet_seal")
    (settlements,) = _one(file, "SELECT count(*) FROM bets_settlement")
    return Content(*(entries, seals, bets, settlements, first, last, amount, stake, payout, digest))


def _one(file: sqlite3.Connection, question: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = file.execute(question).fetchone()
    return row


def _compare(content: Content, segment: Segment) -> None:
    """With what the database counts in one go."""
    bounds = [segment.first_entry_id, segment.last_entry_id]
    live = fetch(_COUNT_ENTRIES, bounds)[0] + fetch(_COUNT_BETS, _bounds_of_bets(segment))[0]
    copied = (
        *(content.entries, content.amount_micros),
        *(content.bets, content.stake_micros, content.payout_micros),
    )
    if tuple(map(int, live)) != copied:
        raise NotTheSame(f"{segment.name}: copied {copied}, but the database holds {live}")


def bets_in(path: Path, at_once: int) -> Iterator[Sequence[int]]:
    """The ids of a file's bets, in order."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as file:
        cursor = file.execute("SELECT id FROM bets_bet ORDER BY id")
        while rows := cursor.fetchmany(at_once):
            yield [bet_id for (bet_id,) in rows]
