"""Reads of one wallet's side of the ledger: both sides' indexes walked newest first, and merged.

Never a scan: a page costs the same however long the history is. Where the database's entries end
those of segments follow.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from taptrading import clock
from taptrading.rows import Condition, Question, fetch
from wallet import ids, segments
from wallet.segments import Wanted

# Ids run ahead of the clock by no more than this, even if the clock was set back by hours.
_ID_LEAD_US: Final = 86_400 * clock.US_PER_S


class LedgerLine(NamedTuple):
    """An entry as its wallet sees it: money in is positive."""

    id: int
    kind: str
    reference: str
    amount_micros: int
    balance_after_micros: int
    created_at: int

    def json(self) -> dict[str, Any]:
        return {
            "entry_id": str(self.id),
            "kind": self.kind,
            "reference": self.reference,
            "amount_micros": self.amount_micros,
            "balance_after_micros": self.balance_after_micros,
            "created_at": clock.iso_ms(self.created_at),
        }


# Entries of bets go with their bets; see wallet/triggers.py.
ARCHIVED_KINDS: Final = ("STAKE", "PAYOUT", "REFUND")
COLUMNS: Final = ("entry_id", *LedgerLine._fields[1:])


def ledger(
    wallet_id: int,
    limit: int,
    *,
    before: int | None = None,
    kind: str | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
) -> list[LedgerLine]:
    """The newest `limit` entries with id < before, of this kind, from_us <= created_at < to_us;
    `Partial` if there are more of them that are not at hand.

    Raises ApiError (being_restored) if none is at hand.
    """
    question = _question(wallet_id, limit, before, kind, from_us, to_us)
    found = [LedgerLine(*row) for row in fetch(*question)]
    wanted = _wanted(wallet_id, limit, before, kind, from_us)
    return found if wanted is None else segments.continued(wanted, found, question, LedgerLine)


def at_hand(
    wallet_id: int, limit: int, *, before: int | None = None, kind: str | None = None
) -> list[LedgerLine] | None:
    """The same from the database alone; None if that may not be all."""
    found = [
        LedgerLine(*row) for row in fetch(*_question(wallet_id, limit, before, kind, None, None))
    ]
    wanted = _wanted(wallet_id, limit, before, kind, None)
    return None if wanted is not None and segments.may_go_on(wanted, found) else found


def _wanted(
    wallet_id: int, limit: int, before: int | None, kind: str | None, from_us: int | None
) -> Wanted | None:
    """None: entries of transfers are never removed."""
    if kind is not None and kind not in ARCHIVED_KINDS:
        return None
    lowest = 0 if from_us is None else ids.first_id_at(from_us)
    return Wanted("entry", wallet_id, limit, before, lowest)


def _question(
    wallet_id: int,
    limit: int,
    before: int | None,
    kind: str | None,
    from_us: int | None,
    to_us: int | None,
) -> Question:
    conditions: list[Condition] = []
    if before is not None:
        conditions.append(("id < %s", before))
    if kind is not None:
        conditions.append(("kind = %s", kind))
    # Ids grow with time, so an index on (wallet, id) bounds what created_at then decides.
    if from_us is not None:
        conditions += [("id >= %s", ids.first_id_at(from_us)), ("created_at >= %s", from_us)]
    if to_us is not None:
        end_id = ids.first_id_at(to_us + _ID_LEAD_US)
        conditions += [("id < %s", end_id), ("created_at < %s", to_us)]
    statement = (
        f"SELECT * FROM ({_side('credit', '', conditions)}) AS credits UNION ALL "  # noqa: S608
        f"SELECT * FROM ({_side('debit', '-', conditions)}) AS debits ORDER BY id DESC LIMIT %s"
    )
    one_side = [wallet_id, *(value for _, value in conditions), limit]
    return Question(statement, [*one_side, *one_side, limit])


def _side(side: str, sign: str, conditions: Sequence[Condition]) -> str:
    """The newest entries of one side, by that side's index."""
    every = " AND ".join([f"{side}_wallet_id = %s", *(text for text, _ in conditions)])
    return (
        f"SELECT id, kind, reference, {sign}amount_micros AS amount_micros,"  # noqa: S608
        f" {side}_balance_after_micros AS balance_after_micros, created_at"
        f" FROM wallet_ledgerentry WHERE {every} ORDER BY id DESC LIMIT %s"
    )


def as_csv(lines: Iterable[dict[str, Any]]) -> str:
    """The same columns as JSON, with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
