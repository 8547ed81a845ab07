"""Fixtures that many tests share. Time stands still, the writer runs in process."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.backends.sqlite3.operations import DatabaseOperations
from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped]

from bets.handlers import game_handlers
from bets.liabilities import promised_micros
from pricefeed.board import Board
from taptrading import append_only, clock
from tests import fakes
from wallet.ids import CUSTODY, HOLD, HOUSE
from wallet.keys import KeyHandler
from wallet.models import Wallet
from wallet.player_limits import PlayerLimitsHandler
from wallet.transfers import TransferHandler

# The writer's core is synchronous and is tested from coroutines too.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


_sql_flush = DatabaseOperations.sql_flush


# What migrations filled for good: no test with transactions of its own adds to it.
_ROLES = {"auth_group", "auth_group_permissions", "auth_permission", "django_content_type"}


def _flush_audit_too(self: Any, style: Any, tables: Any, **options: Any) -> list[str]:
    """A test with transactions of its own ends with empty tables, the append-only one too."""
    table = "ops_auditentry"
    emptied = [name for name in tables if name not in _ROLES]
    statements: list[str] = _sql_flush(self, style, emptied, **options)
    if table not in tables:
        return statements
    forbidding = append_only.creating("sqlite", table, "keep_until")
    return [*append_only.dropping("sqlite", table), *statements, *forbidding]


DatabaseOperations.sql_flush = _flush_audit_too  # type: ignore[method-assign]


# Tests of whole platforms, each a dozen processes: two at once would starve each other.
_PLATFORMS = ("tests/bank/", "tests/failures/", "tests/flows/")
# This one waits more than it works, and all the others take longer than what needs no platform.
_PATIENT = "tests/flows/test_play.py"


def _scope(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return "platforms" if file.startswith(_PLATFORMS) and file != _PATIENT else file


class _Scheduling(LoadFileScheduling):
    """Of several workers one has all platforms, beginning with them, the others file after file."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    return _Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Whoever may use the database may use the prices' too; platforms come first."""
    for item in items:
        mark = item.get_closest_marker("django_db")
        if mark or {"db", "transactional_db"} & set(getattr(item, "fixturenames", ())):
            given = dict(mark.kwargs) if mark else {}
            item.add_marker(pytest.mark.django_db(**{"databases": "__all__"} | given), append=False)
    yield
    items.sort(key=lambda item: _scope(item.nodeid) != "platforms")


@pytest.fixture
def now() -> Iterator[fakes.ManualClock]:
    with fakes.standing_clock() as clock:
        yield clock


@pytest.fixture
def nonces() -> fakes.FakeNonces:
    return fakes.FakeNonces()


@pytest.fixture
def feed_board() -> Board:
    return Board()


@pytest.fixture
def own_wallets(db: None) -> None:
    """A migration opens the platform's wallets, and a test that flushes the tables takes them."""
    for pk, kind in ((CUSTODY, "custody"), (HOLD, "hold"), (HOUSE, "house")):
        Wallet.objects.get_or_create(pk=pk, defaults={"kind": kind, "created_at": clock.now()})


@pytest.fixture
def writer(
    own_wallets: None, now: fakes.ManualClock, nonces: fakes.FakeNonces, feed_board: Board
) -> Iterator[fakes.InProcessLink]:
    """The whole writer, on the test's database."""
    handlers = [
        TransferHandler(promised_micros),
        KeyHandler(),
        PlayerLimitsHandler(),
        *game_handlers(nonces, feed_board),
    ]
    with fakes.in_process_link(handlers) as link:
        yield link
