"""One consistent copy of a database that others go on writing to, and what it holds."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

from taptrading.databases import PRICES

LEDGER: Final = "taptrading.sqlite3"
TICKS: Final = "prices.sqlite3"
_SQLITE: Final = "django.db.backends.sqlite3"
_SAY_EVERY_STEPS: Final = 2_000_000

_OF_LEDGER: Final = {
    "seals": "SELECT coalesce(max(id), 0) FROM wallet_seal",
    "sealed_us": "SELECT coalesce(max(created_at), 0) FROM wallet_seal"
    " WHERE id = (SELECT max(id) FROM wallet_seal)",
    "last_entry_id": "SELECT coalesce(max(id), 0) FROM wallet_ledgerentry",
    "wallets": "SELECT count(*) FROM wallet_wallet",
    "sum_micros": "SELECT coalesce(sum(balance_micros), 0) FROM wallet_wallet",
}
_OF_TICKS: Final = {"last_tick": "SELECT coalesce(max(seq), 0) FROM pricefeed_tick"}

Facts = dict[str, Any]


class NotSqlite(Exception):
    """The database is a server's: its own tools copy it."""


def databases() -> dict[str, Path]:
    """The files by the name that they have in a backup, in the order in which they are copied:
    prices after the ledger, so that each tick it speaks of is there. Raises NotSqlite."""
    found = {}
    for name, alias in ((LEDGER, DEFAULT_DB_ALIAS), (TICKS, PRICES)):
        database = settings.DATABASES[alias]
        if database["ENGINE"] != _SQLITE:
            raise NotSqlite(
                "this copies SQLite files; back a PostgreSQL server up with its own tools"
                " (pg_basebackup and continuous archiving, or pg_dump)"
            )
        found[name] = Path(database["NAME"])
    return found


def copy(source: Path, target: Path, progress: Callable[[int], None]) -> None:
    """One state of `source`, as of the moment at which this begins, whatever is written meanwhile:
    in one step, for one that goes a few pages at a time begins anew at each commit. Waits for no
    writer and keeps none waiting. Raises sqlite3.Error."""
    target.unlink(missing_ok=True)

    def tell() -> int:
        progress(target.stat().st_size if target.exists() else 0)
        return 0

    with closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as database:
        database.set_progress_handler(tell, _SAY_EVERY_STEPS)
        database.execute("VACUUM INTO ?", [str(target)])
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def facts_of(name: str, path: Path) -> Facts:
    """Raises sqlite3.Error."""
    questions = _OF_LEDGER if name == LEDGER else _OF_TICKS
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as file:
        return {fact: file.execute(asked).fetchone()[0] for fact, asked in questions.items()}


def size_of(path: Path) -> int:
    """What a copy takes at most: the file and what its log adds to it."""
    beside = (path, Path(f"{path}-wal"))
    return sum(file.stat().st_size for file in beside if file.exists())
