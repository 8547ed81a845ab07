"""The grid in memory: what is on it, what it costs, what of it can be bet on."""

import json

import msgspec
import pytest

from bets.exposure import ExposureState
from bets.grid import Cell, cell_id, open_columns, parse_cell_id
from bets.quotes import Quotes
from bets.rates import cell_rate
from pricefeed.board import TickRecord
from taptrading.errors import Refusal
from taptrading.money import payout_micros

USDC = 1_000_000
HOUSE = 10_000_000 * USDC
NOON = 1_764_000_010
NOON_MS = NOON * 1_000
PRICE = 9_500_500
OWN = 9_500_000


def tick(offset_ms=0, price_cents=PRICE, sigma_ppm=500_000):
    return TickRecord(offset_ms // 100 + 1, NOON_MS + offset_ms, price_cents, sigma_ppm, 0, "a")


def us(offset_ms=0):
    return (NOON_MS + offset_ms) * 1_000


def band(low_cents=OWN, column_start=NOON + 10):
    return Cell(column_start, low_cents, low_cents + 1_000)


class Gate:
    """Stands where the board does: refuses everything while `shut`."""

    def __init__(self):
        self.shut = False

    def __call__(self, now_ms):
        return Refusal("breaker_open") if self.shut else None


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def quotes(gate):
    quotes = Quotes(gate)
    quotes.refresh(tick())
    quotes.apply_exposure(ExposureState(HOUSE, []))
    return quotes


# What is on the grid.


def test_no_cell_is_on_the_grid_when_no_tick_came_yet(gate):
    quotes = Quotes(gate)

    assert not quotes.is_on_grid(band(), us())
    assert quotes.rate_bps(band()) == 0
    assert quotes.grid_json(us()) == {"quoted_at": None, "price_cents": None, "cells": []}
    assert quotes.grid_update_json(us())["rates_bps"] == [[]] * 11


@pytest.mark.parametrize(
    ("low_cents", "expected"),
    [(OWN - 12_000, False), (OWN - 11_000, True), (OWN + 12_000, True), (OWN + 13_000, False)],
)
def test_band_is_on_the_grid_when_it_is_one_of_the_24(quotes, low_cents, expected):
    assert quotes.is_on_grid(band(low_cents), us()) is expected


def test_cell_is_off_the_grid_when_it_is_misaligned(quotes):
    assert not quotes.is_on_grid(Cell(NOON + 11, OWN, OWN + 1_000), us())
    assert not quotes.is_on_grid(Cell(NOON + 10, OWN, OWN + 2_000), us())
    assert not quotes.is_on_grid(Cell(NOON + 10, OWN + 500, OWN + 1_500), us())


def test_cell_is_off_the_grid_while_its_column_is_beyond_the_last(quotes):
    cell = band(column_start=NOON + 65)

    assert not quotes.is_on_grid(cell, us(4_999))
    assert quotes.is_on_grid(cell, us(5_000))


def test_cell_of_a_locked_column_is_on_the_grid_so_that_it_is_called_locked(quotes):
    assert quotes.is_on_grid(band(column_start=NOON), us())
    assert quotes.is_on_grid(band(column_start=NOON - 500), us())


def test_band_is_remembered_for_two_seconds_when_the_price_moved_on(quotes):
    gone = band(OWN - 11_000)
    quotes.refresh(tick(1_000, PRICE + 1_000))
    quotes.refresh(tick(2_900, PRICE + 1_000))

    assert quotes.is_on_grid(gone, us(2_999))
    assert quotes.rate_bps(gone) == cell_rate(gone, tick(2_900, PRICE + 1_000))
    assert not quotes.is_on_grid(gone, us(3_000))


def test_band_stays_when_the_price_came_back(quotes):
    quotes.refresh(tick(1_000, PRICE + 1_000))
    quotes.refresh(tick(2_000, PRICE))
    quotes.refresh(tick(9_000, PRICE))

    assert quotes.is_on_grid(band(OWN - 11_000), us(9_050))
    assert not quotes.is_on_grid(band(OWN + 13_000), us(9_050))


def test_all_bands_are_remembered_when_the_price_leaps(quotes):
    quotes.refresh(tick(100, PRICE + 100_000))

    assert quotes.is_on_grid(band(), us(150))
    assert quotes.is_on_grid(band(OWN + 100_000), us(150))
    assert not quotes.is_on_grid(band(OWN + 50_000), us(150))


def test_memory_forgets_bands_when_their_time_is_over(quotes):
    for n in range(1, 201):
        quotes.refresh(tick(n * 100, PRICE + n * 1_000))

    known = [low for low in range(0, 2 * OWN, 1_000) if quotes.rate_bps(band(low, NOON + 50))]
    on_grid = [low for low in range(0, 2 * OWN, 1_000) if quotes.is_on_grid(band(low), us(20_050))]
    assert min(known) >= min(on_grid) == OWN + 200_000 - 11_000 - 20_000
    assert max(on_grid) == OWN + 200_000 + 12_000


def test_band_is_no_longer_priced_when_it_is_forgotten(quotes):
    wild, away = 4_000_000, PRICE + 25_000
    last = tick(2_200, away, wild)
    for offset_ms in (100, 2_000):
        quotes.refresh(tick(offset_ms, away, wild))
        assert quotes.rate_bps(band()) > 0

    quotes.refresh(last)

    assert cell_rate(band(), last) > 0
    assert quotes.rate_bps(band()) == 0


# Rates.


def test_rate_is_that_of_the_newest_tick_when_it_moves(quotes):
    newer = tick(100, PRICE + 777)

    assert quotes.rate_bps(band()) == cell_rate(band(), tick())
    assert quotes.refresh(newer)
    assert quotes.rate_bps(band()) == cell_rate(band(), newer)


def test_refresh_does_nothing_when_the_tick_is_not_newer(quotes):
    assert not quotes.refresh(tick())
    assert not quotes.refresh(tick(-100, PRICE + 5_000))
    assert not quotes.refresh(None)
    assert quotes.tick == tick()


def test_rates_exist_for_the_column_that_opens_before_the_next_tick(quotes):
    opens_next = band(column_start=NOON + 65)

    assert quotes.rate_bps(opens_next) == cell_rate(opens_next, tick()) > 0
    assert quotes.rate_bps(band(column_start=NOON + 70)) == 0


def test_nothing_is_offered_while_warming_up(quotes):
    quotes.refresh(tick(100, sigma_ppm=0))

    assert quotes.rate_bps(band()) == 0
    assert quotes.grid_json(us(100))["cells"] == []


# Room.


def test_room_is_the_stake_whose_payout_fills_the_tightest_share(quotes):
    assert quotes.room_micros(band(), 20_000) == 25_000 * USDC  # 0.5 % of 10 M, at twice

    quotes.apply_exposure(ExposureState(HOUSE, [(NOON + 10, OWN, 90_000 * USDC)]))

    assert quotes.room_micros(band(), 20_000) == 5_000 * USDC
    assert quotes.room_micros(band(OWN + 1_000), 20_000) == 25_000 * USDC


def test_room_is_none_until_the_house_has_said_what_it_has(gate):
    quotes = Quotes(gate)
    quotes.refresh(tick())

    assert quotes.room_micros(band(), 20_000) == 0
    assert quotes.room_micros(band(), 0) == 0


def test_receive_exposure_takes_the_bytes_that_the_writer_sends(quotes):
    quotes.receive_exposure(msgspec.msgpack.encode(ExposureState(0, [])))

    assert quotes.room_micros(band(), 20_000) == 0


# Frames.


def test_grid_lists_exactly_the_open_cells_that_are_offered(quotes):
    grid = quotes.grid_json(us(50))
    listed = {entry["cell_id"]: entry for entry in grid["cells"]}

    assert grid["quoted_at"] == "2025-11-24T16:00:10.000Z"
    assert grid["price_cents"] == PRICE
    lows = range(OWN - 11_000, OWN + 13_000, 1_000)
    for column_start in range(NOON - 5, NOON + 75, 5):
        for low in lows:
            cell = band(low, column_start)
            open_now = column_start in open_columns(us(50))
            rate = cell_rate(cell, tick()) if open_now else 0
            entry = listed.pop(cell_id(cell), None)
            assert (entry is not None) == (rate > 0)
            if entry:
                assert entry["rate_bps"] == rate
                assert payout_micros(entry["room_micros"], rate) <= 50_000 * USDC
    assert not listed


def test_grid_update_has_a_row_a_column_and_null_where_there_is_no_bet(quotes):
    update = quotes.grid_update_json(us(50))

    assert update["column_starts"] == list(range(NOON + 10, NOON + 65, 5))
    assert update["lows_cents"] == list(range(OWN - 11_000, OWN + 13_000, 1_000))
    offered = {entry["cell_id"]: entry for entry in quotes.grid_json(us(50))["cells"]}
    for column_start, rates, rooms in zip(
        update["column_starts"], update["rates_bps"], update["room_micros"], strict=True
    ):
        for low, rate, room in zip(update["lows_cents"], rates, rooms, strict=True):
            entry = offered.get(cell_id(band(low, column_start)))
            assert rate == (entry["rate_bps"] if entry else None)
            assert room == (entry["room_micros"] if entry else None)
    assert None in update["rates_bps"][0]


def test_grid_moves_on_with_the_clock_when_no_tick_came(quotes):
    assert quotes.grid_update_json(us(5_000))["column_starts"][0] == NOON + 15
    first = parse_cell_id(quotes.grid_json(us(5_000))["cells"][0]["cell_id"])
    assert first is not None
    assert first.column_start == NOON + 15


def test_grid_is_empty_while_no_bet_is_taken(quotes, gate):
    gate.shut = True

    assert quotes.grid_json(us())["cells"] == []
    assert quotes.grid_update_json(us())["rates_bps"] == [[None] * 24] * 11


def test_bytes_are_rendered_once_until_something_changes(quotes, gate):
    first, update = quotes.grid_bytes(us()), quotes.grid_update_bytes(us())
    assert json.loads(first) == quotes.grid_json(us())
    assert json.loads(update) == quotes.grid_update_json(us())
    assert quotes.grid_bytes(us(99)) is first
    assert quotes.grid_update_bytes(us(99)) is update

    changes = [
        lambda: quotes.refresh(tick(100, PRICE + 900)),
        lambda: quotes.apply_exposure(ExposureState(HOUSE // 2, [])),
        lambda: setattr(gate, "shut", True),
    ]
    seen = [first]
    for change in changes:
        change()
        seen.append(quotes.grid_bytes(us(100)))
    seen.append(quotes.grid_bytes(us(5_000)))  # suspended: an empty list of cells again

    assert len({*seen[:4]}) == 4
    assert json.loads(seen[4])["cells"] == []
    assert quotes.grid_update_bytes(us(100)) != quotes.grid_update_bytes(us(5_000))
