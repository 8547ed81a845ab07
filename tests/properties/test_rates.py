"""A cell costs the same wherever it is priced; what is offered is within bounds and pays floor."""

from fractions import Fraction
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from bets.exposure import liability_room_micros, stake_room_micros
from bets.grid import Cell, band_lows, cell_id, open_columns, parse_cell_id
from bets.rates import cell_rate, cell_rates, grid_rates
from taptrading.limits import LIMITS
from taptrading.money import payout_micros


class Tick(NamedTuple):
    at_ms: int
    price_cents: int
    sigma_ppm: int
    overshoot_e12: int


ticks = st.builds(
    Tick,
    at_ms=st.integers(17_000_000_000, 20_000_000_000).map(lambda n: n * 100),
    price_cents=st.integers(1, 100_000_000),
    sigma_ppm=st.integers(0, 5_000_000),
    overshoot_e12=st.integers(0, 10**9),
)
micros = st.integers(0, 10**15)


def whole_grid(tick):
    columns, lows = open_columns(tick.at_ms * 1_000), band_lows(tick.price_cents)
    cells = [Cell(c, low, low + LIMITS.band_cents) for c in columns for low in lows]
    rates = [rate for row in grid_rates(tick, columns, lows) for rate in row]
    return cells, rates


@given(ticks, st.data())
def test_cell_costs_the_same_alone_in_any_batch_and_in_the_grid(tick, data):
    cells, rates = whole_grid(tick)
    by_cell = dict(zip(cells, rates, strict=True))
    batch = data.draw(st.lists(st.sampled_from(cells), max_size=40))

    assert cell_rates(batch, tick) == [by_cell[cell] for cell in batch]
    assert all(cell_rate(cell, tick) == by_cell[cell] for cell in batch[:5])
    assert cell_rates(cells[::-1], tick) == rates[::-1]


@given(ticks)
def test_every_rate_is_nothing_or_within_bounds(tick):
    _, rates = whole_grid(tick)

    assert all(rate == 0 or LIMITS.rate_min_bps <= rate <= LIMITS.rate_max_bps for rate in rates)


@given(ticks)
def test_offered_chances_never_pay_more_than_the_edge_leaves(tick):
    """Of the bands of a column at least one is touched, so no book of them all may be free."""
    _, rates = whole_grid(tick)
    size = LIMITS.bands
    for start in range(0, len(rates), size):
        row = rates[start : start + size]
        if all(row):
            assert sum(Fraction(10_000, rate) for rate in row) > 1


@given(stake=st.integers(1, 10**12), rate=st.integers(10_100, 200_000))
def test_payout_is_the_exact_product_rounded_down(stake, rate):
    exact = Fraction(stake * rate, 10_000)

    assert payout_micros(stake, rate) <= exact < payout_micros(stake, rate) + 1


@given(house=micros, cell=micros, column=micros, open_=micros, rate=st.integers(10_100, 200_000))
def test_a_stake_that_fits_its_room_breaks_no_share(house, cell, column, open_, rate):
    room = liability_room_micros(house, cell, column, open_)
    payout = payout_micros(stake_room_micros(room, rate), rate)

    if payout:
        assert payout * 10**6 <= house * LIMITS.bet_liability_ppm
        assert (cell + payout) * 10**6 <= house * LIMITS.cell_liability_ppm
        assert (column + payout) * 10**6 <= house * LIMITS.column_liability_ppm
        assert (open_ + payout) * 10**6 <= house * LIMITS.open_liability_ppm


@given(st.text(max_size=60) | st.from_regex(r"[0-9_]{1,30}", fullmatch=True))
def test_a_cell_has_one_spelling_only(text):
    cell = parse_cell_id(text)

    assert cell is None or cell_id(cell) == text
