"""What the house owes on confirmed bets, as one batch sees it: the rows of CellExposure."""

from typing import Final

import msgspec
from django.db import connection

from bets.exposure import ExposureState, liability_room_micros
from bets.quotes import EXPOSURE_KIND
from wallet.book import Book
from wallet.events import Notice
from wallet.ids import HOUSE

_LOAD: Final = (
    "SELECT column_start, low_cents, liability_micros FROM bets_cellexposure WHERE house_id = %s"
)
_UPSERT: Final = (
    "INSERT INTO bets_cellexposure (house_id, column_start, low_cents, liability_micros)"
    " VALUES (%s, %s, %s, %s) ON CONFLICT (house_id, column_start, low_cents)"
    " DO UPDATE SET liability_micros = excluded.liability_micros"
)
_DELETE: Final = (
    "DELETE FROM bets_cellexposure WHERE house_id = %s AND column_start = %s AND low_cents = %s"
)


class Liabilities:
    """Load, change, persist: a few hundred rows, the cells of the columns still unresolved."""

    def __init__(self, book: Book) -> None:
        self._book = book
        book.cursor.execute(_LOAD, [book.house_id])
        rows = book.cursor.fetchall()
        self._cells: dict[tuple[int, int], int] = {(row[0], row[1]): row[2] for row in rows}
        self._columns: dict[int, int] = {}
        for column_start, _, liability in rows:
            self._columns[column_start] = self._columns.get(column_start, 0) + liability
        self._open = sum(self._columns.values())
        self._changed: set[tuple[int, int]] = set()

    def room_micros(self, column_start: int, low_cents: int) -> int:
        """The largest payout that one more bet on the cell may promise."""
        return liability_room_micros(
            self._book.house.balance_micros,
            self._cells.get((column_start, low_cents), 0),
            self._columns.get(column_start, 0),
            self._open,
        )

    def add(self, column_start: int, low_cents: int, micros: int) -> None:
        """A confirmed bet's potential payout, or, below zero, a resolved one's."""
        cell = (column_start, low_cents)
        self._cells[cell] = self._cells.get(cell, 0) + micros
        self._columns[column_start] = self._columns.get(column_start, 0) + micros
        self._open += micros
        self._changed.add(cell)

    def persist(self) -> None:
        house_id = self._book.house_id
        kept = [(house_id, *cell, self._cells[cell]) for cell in self._changed if self._cells[cell]]
        gone = [(house_id, *cell) for cell in self._changed if not self._cells[cell]]
        if kept:
            self._book.cursor.executemany(_UPSERT, kept)
        if gone:
            self._book.cursor.executemany(_DELETE, gone)

    def notice(self) -> Notice:
        cells = [(*cell, micros) for cell, micros in self._cells.items() if micros]
        return _notice(ExposureState(self._book.house.balance_micros, cells))


def current_exposure() -> Notice:
    """The stored exposure, for processes that have just started."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT balance_micros FROM wallet_wallet WHERE id = %s", [HOUSE])
        (balance,) = cursor.fetchone()
        cursor.execute(_LOAD, [HOUSE])
        return _notice(ExposureState(balance, cursor.fetchall()))


def _notice(state: ExposureState) -> Notice:
    return Notice(EXPOSURE_KIND, msgspec.msgpack.encode(state))
