"""This process's current grid: rates of the newest tick, and the room left in each cell.

Fed by the hub (ticks, exposure) and read by the bet endpoint, the sockets and GET grid. Memory
only: no I/O, and no clock but the time that callers hand in.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from bets import rates
from bets.exposure import Exposure, ExposureState, stake_room_micros
from bets.grid import Cell, band_lows, cell_id, column_of, is_aligned, is_beyond, open_columns
from pricefeed.board import TickRecord, board
from taptrading import clock
from taptrading.limits import LIMITS, Limits

EXPOSURE_KIND: Final = "exposure"
EXPOSURE_KEY: Final = "tap:exposure"

__all__ = ["EXPOSURE_KEY", "EXPOSURE_KIND", "ExposureState", "Quotes", "quotes"]

_FOREVER_MS: Final = 2**63 - 1

Frame = dict[str, Any]


class _Shown(NamedTuple):
    """What a rendered grid depends on: equal ones have equal bytes."""

    first_column: int
    suspended: bool
    version: int


class Quotes:
    """`refused(now_ms)` says why no bet can be taken at all right now, or None."""

    def __init__(self, refused: Callable[[int], object | None], limits: Limits = LIMITS) -> None:
        self._refused = refused
        self._limits = limits
        self._version = 0
        self._exposure = Exposure(ExposureState(0, []), limits)
        self.knows_exposure = False
        self._grid_bytes: tuple[_Shown, bytes] | None = None
        self._update_bytes: tuple[_Shown, bytes] | None = None
        self.tick: TickRecord | None = None
        self._lows = range(0)  # bands of the newest grid
        self._until_ms: dict[int, int] = {}  # low -> when the memory of its last grid ends
        self._places: dict[int, int] = {}  # low -> its place in a row of rates
        self._rows: dict[int, list[int]] = {}  # column_start -> rates, 0 = not offered

    # What comes in.

    def refresh(self, tick: TickRecord | None) -> bool:
        """Price the grid anew; False when the tick is not newer than the one already held."""
        if tick is None or (self.tick is not None and tick.at_ms <= self.tick.at_ms):
            return False
        self._remember_bands(tick)
        lows = sorted(self._until_ms)
        columns = self._columns_until_next_tick(tick)
        self._places = {low: place for place, low in enumerate(lows)}
        rows = rates.grid_rates(tick, columns, lows, self._limits)
        self._rows = dict(zip(columns, rows, strict=True))
        self.tick = tick
        self._version += 1
        return True

    def apply_exposure(self, state: ExposureState) -> None:
        self._exposure = Exposure(state, self._limits)
        self.knows_exposure = True
        self._version += 1

    def receive_exposure(self, payload: bytes) -> None:
        """`apply_exposure` for bytes: the hub's callback. Raises msgspec.DecodeError."""
        self.apply_exposure(msgspec.msgpack.decode(payload, type=ExposureState))

    def _remember_bands(self, tick: TickRecord) -> None:
        """A grid is on show until the next one comes; its bands are known a while longer."""
        left_ms = tick.at_ms + self._limits.grid_memory_ms
        kept = {
            low: min(until_ms, left_ms)
            for low, until_ms in self._until_ms.items()
            if until_ms > tick.at_ms
        }
        self._lows = band_lows(tick.price_cents, self._limits)
        self._until_ms = kept | dict.fromkeys(self._lows, _FOREVER_MS)

    def _columns_until_next_tick(self, tick: TickRecord) -> range:
        """The open columns and one more: a column may open before the next tick comes."""
        columns = open_columns(tick.at_ms * clock.US_PER_MS, self._limits)
        return range(columns.start, columns.stop + columns.step, columns.step)

    # What the hot path asks.

    def is_on_grid(self, cell: Cell, now_us: int) -> bool:
        """Aligned, not beyond the last column, in a band of some grid of the last 2 s."""
        return (
            now_us // clock.US_PER_MS < self._until_ms.get(cell.low_cents, 0)
            and is_aligned(cell, self._limits)
            and not is_beyond(cell.column_start, now_us, self._limits)
        )

    def rate_bps(self, cell: Cell) -> int:
        """The rate at the newest tick; 0 = not offered."""
        row = self._rows.get(cell.column_start)
        place = self._places.get(cell.low_cents)
        return 0 if row is None or place is None else row[place]

    def room_micros(self, cell: Cell, rate_bps: int) -> int:
        """The largest stake that the cell can still take at this rate; 0 until it is known."""
        if rate_bps <= 0:
            return 0
        room = self._exposure.payout_room_micros(cell.column_start, cell.low_cents)
        return stake_room_micros(room, rate_bps)

    # What goes out.

    def grid_json(self, now_us: int) -> Frame:
        """GET grid: the cells of the newest tick's bands that can be bet on now."""
        return {
            **self._heading(),
            "cells": [
                {
                    "cell_id": cell_id(cell),
                    "rate_bps": rate,
                    "room_micros": self.room_micros(cell, rate),
                }
                for row in self._open_cells(now_us)
                for cell, rate in row
                if rate
            ],
        }

    def grid_update_json(self, now_us: int) -> Frame:
        """`grid.update`: a row an open column, lows ascending, null = no bet."""
        rows = self._open_cells(now_us)
        return {
            **self._heading(),
            "column_starts": list(open_columns(now_us, self._limits)),
            "lows_cents": list(self._lows),
            "rates_bps": [[rate or None for _, rate in row] for row in rows],
            "room_micros": [
                [self.room_micros(cell, rate) if rate else None for cell, rate in row]
                for row in rows
            ],
        }

    def grid_bytes(self, now_us: int) -> bytes:
        """`grid_json` as JSON; rendered once for each tick, exposure and set of columns."""
        shown = self._shown(now_us)
        if self._grid_bytes is None or self._grid_bytes[0] != shown:
            self._grid_bytes = shown, msgspec.json.encode(self.grid_json(now_us))
        return self._grid_bytes[1]

    def grid_update_bytes(self, now_us: int) -> bytes:
        """`grid_update_json` as JSON; rendered once for each tick, exposure, set of columns."""
        shown = self._shown(now_us)
        if self._update_bytes is None or self._update_bytes[0] != shown:
            self._update_bytes = shown, msgspec.json.encode(self.grid_update_json(now_us))
        return self._update_bytes[1]

    def _shown(self, now_us: int) -> _Shown:
        return _Shown(column_of(now_us, self._limits), self._suspended(now_us), self._version)

    def _suspended(self, now_us: int) -> bool:
        return self._refused(now_us // clock.US_PER_MS) is not None

    def _heading(self) -> Frame:
        tick = self.tick
        return {
            "quoted_at": None if tick is None else clock.iso_ms(tick.at_ms * clock.US_PER_MS),
            "price_cents": None if tick is None else tick.price_cents,
        }

    def _open_cells(self, now_us: int) -> list[list[tuple[Cell, int]]]:
        """The newest grid's open cells with their rates, 0 for those that take no bet now."""
        suspended = self._suspended(now_us)
        rows: list[list[tuple[Cell, int]]] = []
        for column_start in open_columns(now_us, self._limits):
            cells = [Cell(column_start, low, low + self._limits.band_cents) for low in self._lows]
            rows.append([(cell, 0 if suspended else self.rate_bps(cell)) for cell in cells])
        return rows


quotes: Final = Quotes(board.refusal)
