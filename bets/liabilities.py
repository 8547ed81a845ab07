"""What the house owes on confirmed bets, as one batch sees it: the rows of CellExposure."""

from typing import Final

import msgspec
from django.db import connection

from bets import counts
from bets.exposure import ExposureState, liability_shares
from bets.quotes import EXPOSURE_KIND
from taptrading.money import MAX_INT
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

# Order and limit make the database take the index of open bets, not that of all there ever were.
_PROMISED: Final = (
    "SELECT (SELECT coalesce(sum(liability_micros), 0) FROM bets_cellexposure"
    " WHERE house_id = %s) + (SELECT coalesce(sum(stake_micros), 0) FROM (SELECT stake_micros"
    " FROM bets_bet WHERE taken_low_cents IS NOT NULL AND resolved_at IS NULL"
    " AND status = 'accepted' AND house_id = %s ORDER BY column_start, id LIMIT %s) waiting)"
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
        self._shares_of = -1
        self._shares = (0, 0, 0, 0)

    def take(
        self, column_start: int, low_cents: int, payout_micros: int, refundable_micros: int
    ) -> bool:
        """Promise this payout on the cell, if there is room for it, and the house could pay all
        that it has promised even after giving back the stakes of bets that are not priced yet."""
        house = self._book.house.balance_micros
        if house != self._shares_of:
            self._shares_of, self._shares = house, liability_shares(house)
        cell = (column_start, low_cents)
        in_cell = self._cells.get(cell, 0) + payout_micros
        in_column = self._columns.get(column_start, 0) + payout_micros
        of_bet, of_cell, of_column, of_all = self._shares
        if (
            payout_micros > of_bet
            or in_cell > of_cell
            or in_column > of_column
            or self._open + payout_micros > min(of_all, house - refundable_micros)
        ):
            return False
        self._cells[cell] = in_cell
        self._columns[column_start] = in_column
        self._open += payout_micros
        self._changed.add(cell)
        return True

    def release(self, column_start: int, low_cents: int, payout_micros: int) -> None:
        """A confirmed bet is resolved: its potential payout is promised no longer."""
        cell = (column_start, low_cents)
        self._cells[cell] = self._cells.get(cell, 0) - payout_micros
        self._columns[column_start] = self._columns.get(column_start, 0) - payout_micros
        self._open -= payout_micros
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


def promised_micros(house_id: int = HOUSE) -> int:
    """What the house may come to owe: the payouts of all confirmed bets as if every cell were
    touched, and the stakes of bets that are not priced yet."""
    with connection.cursor() as cursor:
        cursor.execute(_PROMISED, [house_id, house_id, MAX_INT])
        (promised,) = cursor.fetchone()
    return int(promised)


def current_exposure() -> Notice:
    """The stored exposure, for processes that have just started."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT balance_micros FROM wallet_wallet WHERE id = %s", [HOUSE])
        (balance,) = cursor.fetchone()
        cursor.execute(_LOAD, [HOUSE])
        return _notice(ExposureState(balance, cursor.fetchall()))


def _notice(state: ExposureState) -> Notice:
    counts.HOUSE_BALANCE.set(state.house_balance_micros)
    counts.LIABILITY.set(sum(micros for _, _, micros in state.cells))
    return Notice(EXPOSURE_KIND, msgspec.msgpack.encode(state), says_all=True)
