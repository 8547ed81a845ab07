"""What a batch of transfers changes beside the book: rows, the audit log, what owners are told."""

from collections.abc import Mapping
from typing import Any

from taptrading import audit, clock
from taptrading.audit import Note
from wallet.book import Account, Book
from wallet.events import Event, Told
from wallet.models import CustodyEvent, Deposit, Withdrawal
from wallet.protocol import Command
from wallet.transfers.commands import CancelWithdrawal, CustodyReport, RequestWithdrawal


class Changes:
    """`forget` holds the wallets that other processes remember as they were before."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.forget: set[int] = set()
        self._told: list[Event] = []
        self._notes: list[Note] = []
        self._new: list[Deposit | Withdrawal | CustodyEvent] = []
        self._dirty: dict[tuple[str, int], Deposit | Withdrawal] = {}

    def begin(self, command: Command) -> None:
        """What is noted from now on is done for this command."""
        self._actor = _actor_of(command)
        self._reason = getattr(command, "reason", "")

    def add(self, row: Deposit | Withdrawal | CustodyEvent) -> None:
        self._new.append(row)

    def mark(self, row: Deposit | Withdrawal) -> None:
        """It is not as it is stored."""
        if isinstance(row, Withdrawal):
            row.changed_at = clock.from_us(self.book.now_us)
        if row not in self._new:
            self._dirty[type(row).__name__, row.pk] = row

    def note(
        self, action: str, subject: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """For the audit log."""
        at_us = self.book.now_us
        note = Note(action, subject, before, after, self._reason, self._actor, at_us=at_us)
        self._notes.append(note)

    def tell(self, account: Account) -> None:
        """The owner hears of the wallet as it is now: another handler's work may change it
        further in this batch."""
        account.next_cursor()
        self.book.change(account)
        self._told.append(
            Event(
                account.id,
                "wallet.balance",
                account.cursor,
                account.balance_micros,
                account.as_json(),
            )
        )

    def persist(self) -> None:
        Deposit.objects.bulk_create([row for row in self._new if isinstance(row, Deposit)])
        Withdrawal.objects.bulk_create([row for row in self._new if isinstance(row, Withdrawal)])
        CustodyEvent.objects.bulk_create(
            [row for row in self._new if isinstance(row, CustodyEvent)]
        )
        for row in self._dirty.values():
            when = "completed_at" if isinstance(row, Deposit) else "changed_at"
            row.save(update_fields=["status", "amount_micros", when])
        audit.record_all(self._notes)

    def told(self) -> list[Told]:
        forget = [Event(wallet_id, "wallet.changed", 0, 0, {}) for wallet_id in self.forget]
        return [*self._told, *forget]


def _actor_of(command: Command) -> str:
    """Who is behind it, for the audit log."""
    if isinstance(command, CustodyReport):
        return "custodian"
    if isinstance(command, RequestWithdrawal | CancelWithdrawal):
        return f"wallet:{command.wallet_id}"
    by = getattr(command, "by", "") or audit.NOBODY
    also_by = getattr(command, "also_by", "")
    return f"{by}, {also_by}" if also_by else str(by)
