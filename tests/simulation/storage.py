"""Real SQLite in memory behind Django, with faults at every statement and every COMMIT.

A crash drops the open transaction; an error is raised where the driver would raise it, and as
after the real one, the transaction is gone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from taptrading.databases import PRICES
from tests.simulation.world import MS, Died, S, World

ALIASES: Final = (DEFAULT_DB_ALIAS, PRICES)
_WRITES: Final = ("INSERT", "UPDATE", "DELETE")
_LOCKED: Final = "database is locked"
_FULL: Final = "database or disk is full"
_BROKEN: Final = "disk I/O error"
BUSY_TIMEOUT_US: Final = 100 * MS
_PAGES_MAX: Final = 1_000_000


@dataclass(slots=True)
class Chances:
    """How often a fault happens, at each statement or at each COMMIT."""

    crash_at_statement: float = 0.0
    crash_before_commit: float = 0.0
    crash_after_commit: float = 0.0
    full_at_statement: float = 0.0
    full_at_commit: float = 0.0
    broken_at_statement: float = 0.0
    broken_at_commit: float = 0.0
    unsaid_commit: float = 0.0
    locked_at_commit: float = 0.0
    stall: float = 0.0


class Database(DatabaseWrapper):
    """One file of the simulated machine."""

    def __init__(self, storage: "Storage", alias: str, raw: Any) -> None:
        super().__init__(_settings(), alias)
        self._storage = storage
        self.raw = raw
        self.execute_wrappers.append(self._statement)

    def get_new_connection(self, conn_params: Any) -> Any:
        return self.raw

    def _statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self._storage.at_statement(self, sql)
        result = execute(sql, params, many, context)
        if not self.in_atomic_block and sql.startswith(_WRITES):
            self._storage.committed(self)
        return result

    def _commit(self) -> None:
        self._storage.at_commit(self, super()._commit)

    def drop(self) -> None:
        """The open transaction is rolled back, as the next process to open the file does it."""
        self.raw.rollback()


class Storage:
    """Both databases. `chances` hold while `on`, for code of processes only."""

    def __init__(self, world: World, chances: Chances) -> None:
        self.world = world
        self.chances = chances
        self.on = False
        self.commits = 0
        self.doubtful = 0
        self.locked_until_us: dict[str, int] = {}
        self.databases = {
            alias: Database(self, alias, template.copy()) for alias, template in templates().items()
        }

    @contextmanager
    def in_use(self) -> Iterator[None]:
        before = {alias: connections[alias] for alias in ALIASES}
        try:
            for alias, database in self.databases.items():
                connections[alias] = database
            yield
        finally:
            for alias, connection in before.items():
                connections[alias] = connection
            for database in self.databases.values():
                database.raw.close()

    def crash(self) -> None:
        """Whoever had a transaction open is gone: connections anew, on what is committed."""
        for alias, database in self.databases.items():
            database.drop()
            self.databases[alias] = Database(self, alias, database.raw)
            connections[alias] = self.databases[alias]

    def fill(self) -> None:
        """No page more: what grows the ledger meets SQLite's own error."""
        raw = self.databases[DEFAULT_DB_ALIAS].raw
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count={pages}")

    def make_room(self) -> None:
        raw = self.databases[DEFAULT_DB_ALIAS].raw
        raw.execute(f"PRAGMA max_page_count={_PAGES_MAX}")

    # Faults.

    def at_statement(self, database: Database, sql: str) -> None:
        process = self.world.current
        if process is None:
            return
        if process.died:
            raise Died
        world = self.world
        draw = world.random.random()
        world.us += 20 + int(draw * 200)
        if sql.startswith("BEGIN"):
            self._begin(database)
        if not self.on:
            return
        chances = self.chances
        for kind, chance, raised in (
            ("crash at a statement", chances.crash_at_statement, Died),
            ("full disk at a statement", chances.full_at_statement, _FULL),
            ("broken disk at a statement", chances.broken_at_statement, _BROKEN),
            ("stall", chances.stall, None),
        ):
            if draw < chance:
                self._fail(database, kind, raised, sql)
                return
            draw -= chance

    def _fail(self, database: Database, kind: str, raised: Any, sql: str) -> None:
        if kind == "stall":
            self.world.fault(kind)
            self.world.pass_time(self.world.random.randrange(50 * MS, 4 * S))
        elif raised is Died:
            self.world.fault(kind)
            raise Died
        elif sql.startswith(_WRITES):
            self.world.fault(kind)
            database.raw.rollback()  # these errors take the transaction with them
            raise OperationalError(raised)

    def _begin(self, database: Database) -> None:
        """Wait for the lock that somebody else holds, as long as a connection waits."""
        left_us = self.locked_until_us.get(database.alias, 0) - self.world.us
        if left_us > 0:
            self.world.fault("locked at BEGIN")
            self.world.pass_time(min(left_us, BUSY_TIMEOUT_US))
            if left_us > BUSY_TIMEOUT_US:
                raise OperationalError(_LOCKED)

    def at_commit(self, database: Database, commit: Callable[[], None]) -> None:
        process = self.world.current
        if process is not None and process.died:
            raise Died
        if process is None or not self.on:
            commit()
            self.committed(database)
            return
        world, chances = self.world, self.chances
        draw = world.random.random()
        for kind, chance in (
            ("crash before COMMIT", chances.crash_before_commit),
            ("crash after COMMIT", chances.crash_after_commit),
            ("full disk at COMMIT", chances.full_at_commit),
            ("failed COMMIT", chances.broken_at_commit),
            ("COMMIT that says it failed", chances.unsaid_commit),
            ("locked at COMMIT", chances.locked_at_commit),
        ):
            if draw < chance:
                self._fail_commit(database, kind, commit)
                return
            draw -= chance
        world.pass_time(100 + int(draw * 2_000))
        commit()
        self.committed(database)

    def committed(self, database: Database) -> None:
        """Count what changes the ledger."""
        self.commits += database.alias == DEFAULT_DB_ALIAS

    def _fail_commit(self, database: Database, kind: str, commit: Callable[[], None]) -> None:
        self.world.fault(kind)
        if kind in ("crash after COMMIT", "COMMIT that says it failed"):
            commit()
            self.committed(database)
        if kind.startswith("crash"):
            # Or Django would commit what is left as it gives the connection back.
            database.drop()
            raise Died
        if kind in ("failed COMMIT", "COMMIT that says it failed"):
            self.doubtful += 1
            raise OperationalError(_BROKEN)
        raise OperationalError(_LOCKED if kind == "locked at COMMIT" else _FULL)


class Template:
    """A migrated database to copy."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def copy(self) -> Any:
        fresh = _vanilla()
        self.raw.backup(fresh)
        return fresh


_templates: dict[str, Template] = {}


def templates() -> dict[str, Template]:
    """Made once a process."""
    if not _templates:
        before = {alias: connections[alias] for alias in ALIASES}
        made = {alias: _Plain(_settings(), alias) for alias in ALIASES}
        try:
            for alias, database in made.items():
                connections[alias] = database
            for alias in ALIASES:
                call_command("migrate", database=alias, verbosity=0, skip_checks=True)
        finally:
            for alias, connection in before.items():
                connections[alias] = connection
        for alias, database in made.items():
            _templates[alias] = Template(database.connection)
    return _templates


class _Plain(DatabaseWrapper):
    """In memory, without faults."""


def _vanilla() -> Any:
    database = _Plain(_settings(), DEFAULT_DB_ALIAS)
    return database.get_new_connection(database.get_connection_params())


def _settings() -> dict[str, Any]:
    return {
        **connections[DEFAULT_DB_ALIAS].settings_dict,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "CONN_MAX_AGE": None,
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
