"""Worked examples of columns, bands, locks and cell ids, to the microsecond and the cent."""

import pytest

from bets.grid import (
    Cell,
    band_lows,
    cell_id,
    column_of,
    is_aligned,
    is_beyond,
    is_locked,
    open_columns,
    parse_cell_id,
)

NOON = 1_764_000_010  # a column's start, in Unix seconds
US = 1_000_000


def test_column_of_names_the_column_when_asked_at_its_first_and_last_microsecond():
    assert column_of(NOON * US - 1) == NOON - 5
    assert column_of(NOON * US) == NOON
    assert column_of((NOON + 5) * US - 1) == NOON
    assert column_of((NOON + 5) * US) == NOON + 5


def test_open_columns_are_eleven_after_the_next_one():
    columns = open_columns(NOON * US)

    assert len(columns) == 11
    assert columns[0] == NOON + 10
    assert columns[-1] == NOON + 60
    assert list(columns) == [NOON + 5 * n for n in range(2, 13)]


def test_column_locks_when_it_becomes_the_next_one():
    column = NOON + 10

    assert not is_locked(column, (NOON + 5) * US - 1)
    assert is_locked(column, (NOON + 5) * US)
    assert is_locked(column, (NOON + 10) * US)  # current
    assert is_locked(column, (NOON + 500) * US)  # past


def test_column_is_beyond_until_it_is_the_twelfth():
    column = NOON + 60

    assert is_beyond(column, NOON * US - 1)
    assert not is_beyond(column, NOON * US)


@pytest.mark.parametrize("offset_us", [0, 1, 2_500_000, 4_999_999])
def test_open_columns_agree_with_locks_at_any_instant(offset_us):
    now_us = NOON * US + offset_us
    lattice = range(NOON - 50, NOON + 200, 5)

    assert list(open_columns(now_us)) == [
        c for c in lattice if not is_locked(c, now_us) and not is_beyond(c, now_us)
    ]


@pytest.mark.parametrize(
    ("price_cents", "own"),
    [
        (9_500_000, 9_500_000),
        (9_500_999, 9_500_000),
        (9_501_000, 9_501_000),
        (9_499_999, 9_499_000),
    ],
)
def test_band_lows_count_from_the_price_own_band(price_cents, own):
    lows = band_lows(price_cents)

    assert len(lows) == 24
    assert lows[11] == own
    assert lows[0] == own - 11_000
    assert lows[-1] == own + 12_000


def test_cell_id_survives_the_round_trip():
    text = "1764000010_9500000_9501000"

    assert parse_cell_id(text) == Cell(1_764_000_010, 9_500_000, 9_501_000)
    assert cell_id(Cell(1_764_000_010, 9_500_000, 9_501_000)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_",
        "__",
        "1764000010_9500000",
        "1764000010_9500000_9501000_",
        "1764000010_9500000_9501000_1",
        "1764000010_9500000_9501000\n",
        " 1764000010_9500000_9501000",
        "+1764000010_9500000_9501000",
        "-1764000010_9500000_9501000",
        "01764000010_9500000_9501000",
        "1764000010_09500000_9501000",
        "1764000010.0_9500000_9501000",
        "1e9_9500000_9501000",
        "0x10_9500000_9501000",
        "1_764_000_010_9500000_9501000",
        "1764000010_９500000_9501000",  # a full-width nine
        "1764000010_٩500000_9501000",  # an Arabic-Indic nine
        "1764000010_9500000_9501000\x00",
        "9" * 19 + "_0_1000",
        "1" * 100_000,
    ],
)
def test_parse_cell_id_gives_none_when_the_text_is_not_canonical(text):
    assert parse_cell_id(text) is None


@pytest.mark.parametrize(
    "cell",
    [
        Cell(NOON + 1, 9_500_000, 9_501_000),
        Cell(NOON, 9_500_001, 9_501_001),
        Cell(NOON, 9_500_500, 9_501_500),
        Cell(NOON, 9_500_000, 9_502_000),
        Cell(NOON, 9_501_000, 9_500_000),
        Cell(NOON, 9_500_000, 9_500_000),
    ],
)
def test_is_aligned_is_false_when_the_cell_lies_off_the_lattice(cell):
    assert parse_cell_id(cell_id(cell)) == cell
    assert not is_aligned(cell)


def test_is_aligned_is_true_on_the_lattice():
    assert is_aligned(Cell(NOON, 9_500_000, 9_501_000))
