"""Reads that go on where the database's rows end: in the files of segments.

A segment's file has the tables of the database, so the same statement asks both. A row is in the
database, or in a segment, or for the while of its removal in both; never in neither, as long as
the database is asked first. What lies in a file that is not at hand is asked for, and the trader
to come again: `being_restored`.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import numpy as np
from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError

from taptrading import clock
from taptrading.errors import ApiError
from taptrading.money import MAX_INT
from taptrading.pages import Partial
from taptrading.rows import Question, Rows, fetch
from wallet import ids

logger = logging.getLogger(__name__)
R = TypeVar("R", bound=tuple[Any, ...])
What = Literal["entry", "bet"]

# Whatever happens, the last hour is in the database.
NEVER_ARCHIVED_US: Final = 3_600 * clock.US_PER_S
RESTORED_BY: Final = "ops.restore_segment"
RETRY_AFTER_S: Final = 5
_ASK_AGAIN_S: Final = 10.0
_EXPIRES_S: Final = 600

_HOLDING: Final = (
    "SELECT s.name, s.first_{what}_id, s.last_{what}_id FROM wallet_checkpoint c"
    " JOIN wallet_segment s ON s.id = c.segment_id"
    " WHERE c.wallet_id = %s AND c.{column} > 0 AND s.state IN ('verified', 'pruned')"
    " AND s.first_{what}_id < %s AND s.last_{what}_id >= %s ORDER BY s.last_{what}_id DESC"
)
_COLUMNS: Final[dict[What, str]] = {"entry": "entries", "bet": "bets"}


class Held(NamedTuple):
    """A segment that holds rows of a wallet, and between which ids."""

    name: str
    first_id: int
    last_id: int


class Wanted(NamedTuple):
    """A page of one wallet's rows: at most `limit` with lowest <= id < before."""

    what: What
    wallet_id: int
    limit: int
    before: int | None = None
    lowest: int = 0


def path_of(name: str) -> Path:
    return Path(settings.SEGMENTS_DIR) / f"{name}.sqlite3"


def nonces_path_of(name: str) -> Path:
    """The hashes of the nonces in it, which stay at hand when the segment does not."""
    return Path(settings.SEGMENTS_DIR) / f"{name}.nonces"


# Pages.


def may_go_on(wanted: Wanted, found: Sequence[Any]) -> bool:
    """Whether segments hold rows that belong on this page. Costs no question if all of them are
    too young for that."""
    return _reaches_back(wanted, found) and bool(_holding(wanted))


def continued(wanted: Wanted, found: list[R], question: Question, row: type[R]) -> list[R]:
    """`found` is what the database answered to `question`: with it what segments answer.

    Raises ApiError (being_restored) if nothing is at hand; ends early, as Partial, if some is.
    """
    if not _reaches_back(wanted, found):
        return found
    by_id: dict[int, R] = {_id(one): one for one in found}
    for held in _holding(wanted):
        newest = sorted(by_id, reverse=True)[: wanted.limit]
        if len(newest) == wanted.limit and newest[-1] > held.last_id:
            break
        values = _ask(held.name, question)
        if values is None:
            return _until(held, by_id, wanted.limit)
        for one in map(row._make, values):  # type: ignore[attr-defined]
            by_id.setdefault(_id(one), one)
    return [by_id[key] for key in sorted(by_id, reverse=True)[: wanted.limit]]


def _reaches_back(wanted: Wanted, found: Sequence[Any]) -> bool:
    young = ids.first_id_at(clock.now_us() - NEVER_ARCHIVED_US)
    if wanted.lowest >= young or wanted.wallet_id >= young:
        return False
    return len(found) < wanted.limit or _id(found[-1]) < young


def _until(held: Held, by_id: dict[int, R], limit: int) -> list[R]:
    """What is newer than anything in a segment that is not at hand."""
    ask_for(held.name)
    newer = sorted((key for key in by_id if key > held.last_id), reverse=True)[:limit]
    if not newer:
        raise _being_restored()
    return Partial(by_id[key] for key in newer)


class WithSegments(Generic[R]):
    """Rows of one wallet, wherever they are, for a view's pages."""

    def __init__(self, rows: Rows[R], what: What, wallet_id: int, lowest: int = 0) -> None:
        self._rows = rows
        self._what: What = what
        self._wallet_id = wallet_id
        self._lowest = lowest

    def newest(self, limit: int, before: int | None = None) -> list[R]:
        wanted = Wanted(self._what, self._wallet_id, limit, before, self._lowest)
        found = self._rows.newest(limit, before)
        return continued(wanted, found, self._rows.question(limit, before), self._rows.row)


# Single rows.


def bet_by_id(wallet_id: int, bet_id: int, rows: Rows[R]) -> R | None:
    """The archived bet among these rows. Raises ApiError (being_restored)."""
    wanted = Wanted("bet", wallet_id, 1, bet_id + 1, bet_id)
    return _first(_holding(wanted), rows.question(1), rows.row)


def bet_by_nonce(wallet_id: int, nonce: str, rows: Rows[R]) -> R | None:
    """The newest archived bet with this nonce (32 digits). Raises ApiError (being_restored)."""
    key = nonce_keys([wallet_id], [nonce])[0]
    held = [one for one in _holding(Wanted("bet", wallet_id, 1)) if _may_have(one.name, key)]
    return _first(held, rows.question(1), rows.row)


def _first(every: Sequence[Held], question: Question, row: type[R]) -> R | None:
    away = []
    for held in every:
        values = _ask(held.name, question)
        if values:
            return row(*values[0])
        if values is None:
            away.append(held.name)
    for name in away:
        ask_for(name)
    if away:
        raise _being_restored()
    return None


def nonce_keys(wallet_ids: Sequence[int], nonces: Sequence[str]) -> "np.ndarray[Any, Any]":
    """What stands for a wallet's nonce in the file of hashes: who picks nonces that meet finds
    nothing but that a segment is fetched for nothing."""
    digits = np.frombuffer(bytes.fromhex("".join(nonces)), dtype=">u8").reshape(-1, 2)
    halves = digits.astype(np.uint64)
    return halves[:, 0] ^ halves[:, 1] ^ np.array(wallet_ids, dtype=np.uint64)


def _may_have(name: str, key: Any) -> bool:
    try:
        keys = np.fromfile(nonces_path_of(name), dtype=np.uint64)
    except OSError:
        return True
    place = int(np.searchsorted(keys, key))
    return place < len(keys) and bool(keys[place] == key)


# Files.


def _holding(wanted: Wanted) -> list[Held]:
    """Newest first. Ask after the database's own rows: those that have gone since then are in a
    segment that stands here by now."""
    statement = _HOLDING.format(what=wanted.what, column=_COLUMNS[wanted.what])
    before = MAX_INT if wanted.before is None else min(wanted.before, MAX_INT)
    return [Held(*row) for row in fetch(statement, [wanted.wallet_id, before, wanted.lowest])]


def _ask(name: str, question: Question) -> list[tuple[Any, ...]] | None:
    """None if the segment is not at hand."""
    try:
        return read(path_of(name), question)
    except sqlite3.OperationalError as error:
        if path_of(name).exists():
            raise
        logger.info("segment %s is not at hand: %s", name, error)
        return None


def read(path: Path, question: Question) -> list[tuple[Any, ...]]:
    """Raises sqlite3.Error."""
    where = f"file:{quote(str(path))}?mode=ro&immutable=1"
    with closing(sqlite3.connect(where, uri=True)) as file:
        found: list[tuple[Any, ...]] = file.execute(
            question.statement.replace("%s", "?"), question.values
        ).fetchall()
    return found


_asked: dict[str, float] = {}


def ask_for(name: str, tell: Callable[[str], None] | None = None) -> None:
    """Have the segment fetched by a worker: once in a while, however many wait for it."""
    now_s = time.monotonic()
    if now_s - _asked.get(name, -_ASK_AGAIN_S) < _ASK_AGAIN_S:
        return
    _asked[name] = now_s
    try:
        (tell or _send)(name)
    except OperationalError as error:
        _asked.pop(name, None)
        logger.warning("segment %s is asked for later: %s", name, error)


def _send(name: str) -> None:
    current_app.send_task(RESTORED_BY, [name], expires=_EXPIRES_S, ignore_result=True)


def _being_restored() -> ApiError:
    return ApiError("being_restored", retry_after_s=RETRY_AFTER_S)


def _id(row: Any) -> int:
    found: int = row.id
    return found
