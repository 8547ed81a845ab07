"""What the house may still promise: shares of its wallet, and the room they leave (pure).

The writer decides by `liability_shares` at pricing; quotes publish the room that they leave as
the largest stake a cell can still take. Liability is the potential payout, stake included.
"""

from typing import Final

import msgspec

from taptrading.limits import LIMITS, Limits
from taptrading.money import BPS

PPM: Final = 1_000_000


class ExposureState(msgspec.Struct, frozen=True, array_like=True):
    """The house's balance and its open liabilities: (column_start, low_cents, micros) a cell."""

    house_balance_micros: int
    cells: list[tuple[int, int, int]]


def share_micros(house_balance_micros: int, share_ppm: int) -> int:
    return max(house_balance_micros, 0) * share_ppm // PPM


def liability_shares(
    house_balance_micros: int, limits: Limits = LIMITS
) -> tuple[int, int, int, int]:
    """The most that a bet, a cell, a column and all open bets may come to."""
    return (
        share_micros(house_balance_micros, limits.bet_liability_ppm),
        share_micros(house_balance_micros, limits.cell_liability_ppm),
        share_micros(house_balance_micros, limits.column_liability_ppm),
        share_micros(house_balance_micros, limits.open_liability_ppm),
    )


def liability_room_micros(
    house_balance_micros: int,
    cell_liability_micros: int,
    column_liability_micros: int,
    open_liability_micros: int,
    limits: Limits = LIMITS,
) -> int:
    """The largest payout that one more bet on the cell may promise; never below 0."""
    shares = liability_shares(house_balance_micros, limits)
    return _room_micros(
        shares, cell_liability_micros, column_liability_micros, open_liability_micros
    )


def _room_micros(
    shares: tuple[int, int, int, int], cell_micros: int, column_micros: int, open_micros: int
) -> int:
    of_bet, of_cell, of_column, of_all = shares
    return max(
        0, min(of_bet, of_cell - cell_micros, of_column - column_micros, of_all - open_micros)
    )


def stake_room_micros(payout_room_micros: int, rate_bps: int) -> int:
    """The largest stake whose payout at this rate, rounded down, stays within the room.

    `rate_bps` is above zero: a cell without a rate has no room to speak of.
    """
    return ((payout_room_micros + 1) * BPS - 1) // rate_bps


class Exposure:
    """This process's copy of the house's liabilities, summed by cell, column and over all."""

    def __init__(self, state: ExposureState, limits: Limits = LIMITS) -> None:
        self.house_balance_micros = state.house_balance_micros
        self._shares = liability_shares(state.house_balance_micros, limits)
        self._cells: dict[tuple[int, int], int] = {}
        self._columns: dict[int, int] = {}
        self._open_micros = 0
        for column_start, low_cents, liability_micros in state.cells:
            key = (column_start, low_cents)
            self._cells[key] = self._cells.get(key, 0) + liability_micros
            self._columns[column_start] = self._columns.get(column_start, 0) + liability_micros
            self._open_micros += liability_micros

    def payout_room_micros(self, column_start: int, low_cents: int) -> int:
        return _room_micros(
            self._shares,
            self._cells.get((column_start, low_cents), 0),
            self._columns.get(column_start, 0),
            self._open_micros,
        )
