"""Fixtures that many tests share. Time stands still, the writer runs in process."""

import os
from collections.abc import Iterator

import pytest

from bets.handlers import game_handlers
from pricefeed.board import Board
from tests import fakes
from wallet.keys import KeyHandler
from wallet.transfers import TransferHandler

# The writer's core is synchronous and is tested from coroutines too.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


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
def writer(
    db: None, now: fakes.ManualClock, nonces: fakes.FakeNonces, feed_board: Board
) -> Iterator[fakes.InProcessLink]:
    """The whole writer, on the test's database."""
    handlers = [TransferHandler(), KeyHandler(), *game_handlers(nonces, feed_board)]
    with fakes.in_process_link(handlers) as link:
        yield link
