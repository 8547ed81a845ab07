"""What the database itself refuses of the bets' tables, should all other guards be gone."""

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from bets.models import Bet, CellExposure
from taptrading import clock
from tests import factories
from tests.fakes import InProcessLink
from wallet.ids import HOUSE
from wallet.models import Wallet


@pytest.fixture
def player(writer: InProcessLink) -> Wallet:
    return factories.funded_wallet(writer)


def stored(player: Wallet, number: int, **changes: Any) -> Bet:
    fields: dict[str, Any] = {
        "id": number,
        "wallet": player,
        "house_id": HOUSE,
        "column_start": 1_764_000_015,
        "low_cents": 1_000 * number,
        "taken_low_cents": 1_000 * number,
        "high_cents": 1_000 * number + 1_000,
        "stake_micros": 1,
        "min_rate_bps": 10_000,
        "nonce": uuid.UUID(int=number),
        "timestamp": 0,
        "signature": bytes(65),
        "status": "accepted",
        "cursor": 1,
        "accepted_at": clock.now(),
    }
    return Bet.objects.create(**fields | changes)


def refused(player: Wallet, number: int, **changes: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        stored(player, number, **changes)


def test_bet_when_its_nonce_has_one_then_the_database_refuses(
    writer: InProcessLink, player: Wallet
) -> None:
    stored(player, 1)
    refused(player, 2, nonce=uuid.UUID(int=1))
    stored(factories.funded_wallet(writer), 2, nonce=uuid.UUID(int=1))


def test_bet_when_its_cell_is_taken_then_the_database_refuses(
    writer: InProcessLink, player: Wallet
) -> None:
    stored(player, 1)
    refused(player, 2, taken_low_cents=1_000)
    stored(factories.funded_wallet(writer), 2, taken_low_cents=1_000)
    stored(player, 3, low_cents=1_000, taken_low_cents=None, status="rejected")


@pytest.mark.parametrize("stake_micros", [0, -1])
def test_bet_when_nothing_is_staked_then_the_database_refuses(
    player: Wallet, stake_micros: int
) -> None:
    refused(player, 1, stake_micros=stake_micros)


def test_exposure_when_below_zero_then_the_database_refuses(player: Wallet) -> None:
    cell = {"house_id": HOUSE, "column_start": 5, "low_cents": 1_000}
    with pytest.raises(IntegrityError), transaction.atomic():
        CellExposure.objects.create(**cell, liability_micros=-1)
