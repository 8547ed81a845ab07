"""Reads of one wallet's side of the ledger: both sides' indexes walked newest first, and merged.

Never a scan: a page costs the same however long the history is.
"""

import csv
import heapq
import io
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet

from taptrading import clock
from wallet import ids
from wallet.models import LedgerEntry

# Ids run ahead of the clock by no more than this, even if the clock was set back by hours.
_ID_LEAD_US: Final = 86_400 * clock.US_PER_S


class LedgerLine(NamedTuple):
    """An entry as its wallet sees it: money in is positive. The columns of JSON and CSV."""

    entry_id: int
    kind: str
    reference: str
    amount_micros: int
    balance_after_micros: int
    created_at: datetime


def ledger(
    wallet_id: int,
    limit: int,
    *,
    before: int | None = None,
    kind: str | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
) -> list[LedgerLine]:
    """The newest `limit` entries with id < before, of this kind, from_us <= created_at < to_us."""
    entries = LedgerEntry.objects.order_by("-id")
    if before is not None:
        entries = entries.filter(id__lt=before)
    if kind is not None:
        entries = entries.filter(kind=kind)
    if from_us is not None:
        first_id = ids.first_id_at(from_us)
        entries = entries.filter(id__gte=first_id, created_at__gte=clock.from_us(from_us))
    if to_us is not None:
        end_id = ids.first_id_at(to_us + _ID_LEAD_US)
        entries = entries.filter(id__lt=end_id, created_at__lt=clock.from_us(to_us))
    newest_first = heapq.merge(
        _lines(entries.filter(credit_wallet=wallet_id), "credit", 1, limit),
        _lines(entries.filter(debit_wallet=wallet_id), "debit", -1, limit),
        key=lambda line: line.entry_id,
        reverse=True,
    )
    return list(islice(newest_first, limit))


def _lines(
    entries: QuerySet[LedgerEntry], side: str, sign: int, limit: int
) -> Iterable[LedgerLine]:
    columns = ("id", "kind", "reference", "amount_micros", f"{side}_balance_after_micros")
    for row in entries.values_list(*columns, "created_at")[:limit]:
        entry_id, kind, reference, amount_micros, balance_micros, created_at = row
        yield LedgerLine(
            entry_id, kind, reference, sign * amount_micros, balance_micros, created_at
        )


def as_csv(lines: Iterable[dict[str, Any]]) -> str:
    """The same columns as JSON, with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, LedgerLine._fields, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
