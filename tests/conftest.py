"""Fixtures that many tests share. Time stands still, the writer runs in process."""

import os
from collections.abc import Iterator

import pytest

from bets.handlers import game_handlers
from pricefeed.board import Board
from taptrading import clock
from tests import fakes
from wallet.ids import CUSTODY, HOLD, HOUSE
from wallet.keys import KeyHandler
from wallet.models import Wallet
from wallet.transfers import TransferHandler

# The writer's core is synchronous and is tested from coroutines too.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever may use the database may use the prices' too."""
    for item in items:
        mark = item.get_closest_marker("django_db")
        if mark or {"db", "transactional_db"} & set(getattr(item, "fixturenames", ())):
            given = dict(mark.kwargs) if mark else {}
            item.add_marker(pytest.mark.django_db(**{"databases": "__all__"} | given), append=False)


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
    handlers = [TransferHandler(), KeyHandler(), *game_handlers(nonces, feed_board)]
    with fakes.in_process_link(handlers) as link:
        yield link
