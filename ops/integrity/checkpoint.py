"""Where the ledger begins: at the last seal of the newest segment whose rows may have gone."""

from typing import Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

_NEWEST: Final = (
    "SELECT id, name, last_seal_id, last_entry_id FROM wallet_segment"
    " WHERE state IN ('verified', 'pruned') ORDER BY id DESC LIMIT 1"
)
# A wallet's last one holds for the segments after it, of which it has no rows.
_BALANCES: Final = (
    "SELECT c.wallet_id, c.balance_micros FROM wallet_checkpoint c JOIN"
    " (SELECT wallet_id, max(segment_id) AS newest FROM wallet_checkpoint"
    " WHERE segment_id <= %s GROUP BY wallet_id) n"
    " ON n.wallet_id = c.wallet_id AND n.newest = c.segment_id"
)


class Start(NamedTuple):
    """`segment_id` 0: nothing was archived, and the ledger begins with its first entry."""

    segment_id: int
    name: str
    seal_id: int
    entry_id: int


def start(connection: BaseDatabaseWrapper) -> Start:
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        return Start(*(cursor.fetchone() or (0, "", 0, 0)))


def balances_at(connection: BaseDatabaseWrapper, segment_id: int) -> dict[int, int]:
    """Each wallet's balance at the end of this segment; a wallet that had no entry is not there."""
    with connection.cursor() as cursor:
        cursor.execute(_BALANCES, [segment_id])
        return dict(cursor.fetchall())
