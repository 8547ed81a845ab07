"""A worker's run over closed columns when others were there first, or the writer refuses."""

from typing import Any

import pytest

from bets import tasks
from bets.models import Bet, Settlement
from bets.settlement import DecideColumn, SettleBets
from pricefeed.board import Board
from taptrading.errors import DependencyError, Refusal
from tests import factories
from tests.factories import accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet import link


@pytest.fixture
def bet(writer: InProcessLink, now: ManualClock, feed_board: Board) -> Bet:
    """Confirmed, its column over and recorded without a gap."""
    factories.funded_house(writer)
    factories.tick(feed_board)
    accepted(writer.call(place_command(factories.funded_wallet(writer))))
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    bet = Bet.objects.get()
    now.us = bet.column_start * 1_000_000 - 100_000
    for _ in range(52):
        factories.tick(feed_board)
        now.advance(0.1)
    return bet


def status(bet: Bet) -> str:
    bet.refresh_from_db()
    return bet.status


def test_run_when_another_worker_died_after_deciding_then_paid_by_its_decision(
    writer: InProcessLink, bet: Bet
) -> None:
    def pays_nobody(command: Any) -> Any:
        if isinstance(command, SettleBets):
            raise DependencyError("away")
        return writer.call(command)

    link.use(pays_nobody)
    assert tasks.settle_due_columns() == 0
    decided = Settlement.objects.get(column_start=bet.column_start)
    assert status(bet) == "confirmed"

    def decides_nothing(command: Any) -> Any:
        assert not isinstance(command, DecideColumn)
        return writer.call(command)

    link.use(decides_nothing)
    assert tasks.settle_due_columns() == 1
    assert status(bet) == "won"
    assert Settlement.objects.get(column_start=bet.column_start).decided_at == decided.decided_at


def test_run_when_the_writer_refuses_to_pay_then_the_next_run_does(
    writer: InProcessLink, bet: Bet
) -> None:
    asked: list[Any] = []

    def refuses(command: Any) -> Any:
        if isinstance(command, SettleBets):
            asked.append(command)
            return Refusal("overloaded")
        return writer.call(command)

    link.use(refuses)
    assert tasks.settle_due_columns() == 0
    assert len(asked) == 1  # not again and again
    assert status(bet) == "confirmed"
    link.use(writer.call)
    assert tasks.settle_due_columns() == 1
    assert status(bet) == "won"
