"""Cells: their names, which band and column they are, and which are open at an instant (pure).

A column is named by its start in Unix seconds, a band by its low edge in cents. No rate, no
price history and no clock live here: callers hand in the time, in microseconds.
"""

import re
from typing import Final, NamedTuple

from taptrading.limits import LIMITS, Limits

US_PER_S: Final = 1_000_000

# Canonical decimal of at most 18 digits, which always fits the database's 63 bits.
_NUMBER: Final = "(0|[1-9][0-9]{0,17})"
_CELL_ID: Final = re.compile(f"{_NUMBER}_{_NUMBER}_{_NUMBER}")


class Cell(NamedTuple):
    """A price band [low_cents, high_cents) during the column that starts at `column_start`."""

    column_start: int
    low_cents: int
    high_cents: int


def cell_id(cell: Cell) -> str:
    return f"{cell.column_start}_{cell.low_cents}_{cell.high_cents}"


def parse_cell_id(text: str) -> Cell | None:
    """The cell of a canonical id; None when the text is not of that form.

    One spelling a cell: the id is part of the signed text, and one bet a cell is the rule.
    A misaligned cell parses: it is a cell that is on no grid (`is_aligned`), not garbage.
    """
    match = _CELL_ID.fullmatch(text)
    if match is None:
        return None
    return Cell(int(match[1]), int(match[2]), int(match[3]))


def is_aligned(cell: Cell, limits: Limits = LIMITS) -> bool:
    """Whether the cell lies on the lattice of columns and bands."""
    return (
        cell.column_start % limits.column_s == 0
        and cell.low_cents % limits.band_cents == 0
        and cell.high_cents == cell.low_cents + limits.band_cents
    )


def column_of(now_us: int, limits: Limits = LIMITS) -> int:
    """The start of the current column, in Unix seconds."""
    seconds = now_us // US_PER_S
    return seconds - seconds % limits.column_s


def open_columns(now_us: int, limits: Limits = LIMITS) -> range:
    """Starts of the columns that take bets: those of the grid less the locked ones."""
    current = column_of(now_us, limits)
    first = current + limits.locked_columns * limits.column_s
    return range(first, current + (limits.columns + 1) * limits.column_s, limits.column_s)


def is_locked(column_start: int, now_us: int, limits: Limits = LIMITS) -> bool:
    """Whether the column is past, current or next."""
    return column_start < column_of(now_us, limits) + limits.locked_columns * limits.column_s


def is_beyond(column_start: int, now_us: int, limits: Limits = LIMITS) -> bool:
    """Whether the column lies after the last one of the grid."""
    return column_start > column_of(now_us, limits) + limits.columns * limits.column_s


def band_low(price_cents: int, limits: Limits = LIMITS) -> int:
    """The low edge of the band that the price lies in."""
    return price_cents - price_cents % limits.band_cents


def band_lows(price_cents: int, limits: Limits = LIMITS) -> range:
    """Low edges of the grid's bands, ascending: the price's own, 11 below it, 12 above.

    Near zero some may be zero or negative: no rate is ever offered for those.
    """
    own = band_low(price_cents, limits)
    first = own - (limits.bands_below - 1) * limits.band_cents
    return range(first, own + (limits.bands_above + 1) * limits.band_cents, limits.band_cents)
