"""Does the custodian hold what the ledger says? CUSTODY lies below zero by exactly that much.

The two are asked one after the other, and money moves meanwhile. So a reconciliation counts only
if the ledger stood still while the custodian was asked, and a difference is believed only once it
was seen several times in a row. Payouts that the custodian was asked for and has not reported may
have left it or not: a difference that they explain is none.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from django.db.models import Max, Sum
from prometheus_client import Gauge

from ops.models import Reconciliation
from taptrading import audit, clock
from taptrading.money import format_usdc
from wallet.ids import CUSTODY
from wallet.models import LedgerEntry, Wallet, Withdrawal

logger = logging.getLogger(__name__)

LOOKS: Final = 3
PAUSE_S: Final = 5.0
_MOVING: Final = 20  # looks in all, at a ledger that does not stand still

MISMATCH: Final = Gauge(
    "custody_mismatch_micros",
    "What the custodian holds beyond, or below zero short of, what the ledger says",
    multiprocess_mode="mostrecent",
)
RECONCILED_AT: Final = Gauge(
    "last_custody_reconciliation_timestamp",
    "When the custodian's holdings were last compared with the ledger, whatever came of it",
    multiprocess_mode="mostrecent",
)

Status = Withdrawal.Status


class Restless(Exception):
    """Money came or went whenever the custodian was asked."""


class Books(NamedTuple):
    """What the ledger says that the custodian holds, and what of it may have left already."""

    owed_micros: int
    under_way_micros: int
    last_entry_id: int


class Compared(NamedTuple):
    books: Books
    held_micros: int

    @property
    def mismatch_micros(self) -> int:
        """How far the holdings lie outside what the ledger and payouts under way allow."""
        most = self.books.owed_micros
        least = most - self.books.under_way_micros
        return self.held_micros - max(least, min(self.held_micros, most))


def reconcile(
    holdings_micros: Callable[[], int],
    source: str,
    pause: Callable[[float], None] = time.sleep,
) -> Reconciliation:
    """Compare, and put the verdict on record. Raises Restless, or what `holdings_micros` does."""
    found = _compare(holdings_micros, pause)
    made = Reconciliation.objects.create(
        at=clock.now(),
        source=source,
        owed_micros=found.books.owed_micros,
        under_way_micros=found.books.under_way_micros,
        held_micros=found.held_micros,
        mismatch_micros=found.mismatch_micros,
    )
    if made.mismatch_micros:
        logger.critical("action=reconcile_custody MISMATCH %s", as_line(made))
        after = {"held_micros": made.held_micros, "owed_micros": made.owed_micros}
        audit.try_to_record(audit.Note("custody.mismatch", "custody", None, after))
    else:
        logger.info("action=reconcile_custody %s", as_line(made))
    return made


def _compare(holdings_micros: Callable[[], int], pause: Callable[[float], None]) -> Compared:
    differed = 0
    for _ in range(_MOVING):
        before = books()
        held_micros = holdings_micros()
        if books() == before:
            found = Compared(before, held_micros)
            differed += 1
            if found.mismatch_micros == 0 or differed == LOOKS:
                return found
        pause(PAUSE_S)
    raise Restless(f"in {_MOVING} looks: try again at a quiet hour")


def books() -> Books:
    # SQLite takes the partial index of open ones only for its condition written out.
    open_ones = Withdrawal.objects.extra(where=["status IN ('held', 'approved', 'sent')"])
    under_way = open_ones.filter(status__in=(Status.APPROVED, Status.SENT))
    return Books(
        owed_micros=-Wallet.objects.get(pk=CUSTODY).balance_micros,
        under_way_micros=under_way.aggregate(sum=Sum("amount_micros"))["sum"] or 0,
        last_entry_id=_last_entry_id(),
    )


def _last_entry_id() -> int:
    entries = LedgerEntry.objects.filter(debit_wallet=CUSTODY).aggregate(last=Max("id"))["last"]
    back = LedgerEntry.objects.filter(credit_wallet=CUSTODY).aggregate(last=Max("id"))["last"]
    return max(entries or 0, back or 0)


def tell() -> None:
    """What metrics say: told from the database, for whoever has started since."""
    last = Reconciliation.objects.order_by("-id").first()
    if last is not None:
        MISMATCH.set(last.mismatch_micros)
        RECONCILED_AT.set(clock.to_us(last.at) / clock.US_PER_S)


def as_line(made: Reconciliation) -> str:
    way = f", of which {format_usdc(made.under_way_micros)} may have left it"
    return (
        f"the custodian ({made.source}) holds {format_usdc(made.held_micros)}, the ledger says"
        f" {format_usdc(made.owed_micros)}{way if made.under_way_micros else ''}: "
        + (f"off by {format_usdc(made.mismatch_micros)}" if made.mismatch_micros else "they agree")
    )
