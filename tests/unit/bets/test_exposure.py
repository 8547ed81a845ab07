"""Worked examples of the room that the house's liabilities leave."""

import pytest

from bets.exposure import Exposure, ExposureState, liability_room_micros, stake_room_micros
from taptrading.money import payout_micros

USDC = 1_000_000
HOUSE = 10_000_000 * USDC  # shares: bet 50 000, cell 100 000, column 1 000 000, all 10 000 000


def test_room_is_the_share_of_one_bet_when_nothing_is_open():
    assert liability_room_micros(HOUSE, 0, 0, 0) == 50_000 * USDC


@pytest.mark.parametrize(
    ("cell", "column", "all_open", "room"),
    [
        (50_000, 50_000, 50_000, 50_000),
        (60_000, 60_000, 60_000, 40_000),  # the cell binds
        (99_999, 99_999, 99_999, 1),
        (100_000, 100_000, 100_000, 0),
        (0, 980_000, 980_000, 20_000),  # the column binds
        (0, 0, 9_990_000, 10_000),  # all open bets bind
        (0, 1_000_001, 1_000_001, 0),  # the house lost meanwhile: never below zero
    ],
)
def test_room_is_what_the_tightest_share_leaves(cell, column, all_open, room):
    found = liability_room_micros(HOUSE, cell * USDC, column * USDC, all_open * USDC)

    assert found == room * USDC


def test_room_is_none_when_the_house_is_empty():
    assert liability_room_micros(0, 0, 0, 0) == 0


@pytest.mark.parametrize("rate_bps", [10_100, 19_423, 33_333, 200_000])
@pytest.mark.parametrize("room_micros", [0, 1, 999_999, 50_000 * USDC, 50_000 * USDC + 7])
def test_stake_room_is_the_largest_stake_that_fits(room_micros, rate_bps):
    stake = stake_room_micros(room_micros, rate_bps)

    assert payout_micros(stake, rate_bps) <= room_micros
    assert payout_micros(stake + 1, rate_bps) > room_micros


def test_exposure_sums_cells_into_columns_and_all_when_applied():
    exposure = Exposure(
        ExposureState(
            HOUSE,
            [(100, 1_000, 70_000 * USDC), (100, 2_000, 920_000 * USDC), (105, 1_000, 5 * USDC)],
        )
    )

    assert exposure.payout_room_micros(100, 1_000) == 10_000 * USDC  # its column is nearly full
    assert exposure.payout_room_micros(100, 2_000) == 0  # the cell is over its share
    assert exposure.payout_room_micros(105, 1_000) == 50_000 * USDC
    assert exposure.payout_room_micros(110, 1_000) == 50_000 * USDC
