"""Where SQLite and PostgreSQL differ in the eyes of the checks; nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True, slots=True)
class Dialect:
    """`begin_snapshot` opens a transaction that reads one state of the database and keeps nobody
    from writing. `entry_bytes` has a place for text, `bet_id` one for a reference. `open_bets`
    names the small index of them where the planner has no statistics to choose it by."""

    begin_snapshot: str
    triggers: str
    entry_bytes: str
    bet_id: str
    open_bets: str


_SQLITE: Final = Dialect(
    begin_snapshot="BEGIN DEFERRED",
    triggers="SELECT name FROM sqlite_master WHERE type = 'trigger'",
    entry_bytes="CAST({} AS BLOB)",
    bet_id="CAST(substr({0}, 5) AS INTEGER)",
    open_bets="bets_bet AS b INDEXED BY bet_open",
)
_POSTGRESQL: Final = Dialect(
    begin_snapshot="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    triggers="SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'",
    entry_bytes="convert_to({}, 'UTF8')",
    bet_id="CASE WHEN {0} ~ '^bet:[0-9]{{1,18}}$' THEN CAST(substr({0}, 5) AS BIGINT) END",
    open_bets="bets_bet AS b",
)


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    return _SQLITE if connection.vendor == "sqlite" else _POSTGRESQL


@contextmanager
def snapshot(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """One state of the database for all reads of the block.

    Not `transaction.atomic`: on SQLite that takes the write lock, and the writer would wait. A
    transaction that is open already (a test's) is one state too.
    """
    if connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(dialect_of(connection).begin_snapshot)
        cursor.execute("SELECT id FROM wallet_seal LIMIT 1")  # on SQLite the first read fixes it
        cursor.fetchall()
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
