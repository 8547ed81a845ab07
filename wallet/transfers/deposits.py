"""Deposits, and what the custodian says has happened, which alone completes them."""

from collections.abc import Callable
from typing import Any

from django.db.models import Q

from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet.book import Account
from wallet.ids import CUSTODY
from wallet.models import CustodyEvent, Deposit, Wallet
from wallet.protocol import Command, Done, Outcome
from wallet.transfers.changes import Changes
from wallet.transfers.commands import CustodyReport, Reported, RequestDeposit
from wallet.transfers.withdrawals import Withdrawals


class Deposits:
    """With the events told before, and the transfers that were applied under whatever event."""

    def __init__(
        self,
        changes: Changes,
        commands: list[Command],
        by_address: dict[str, Account],
        withdrawals: Withdrawals,
    ) -> None:
        self._changes = changes
        self._book = changes.book
        self._by_address = by_address
        reports = [command for command in commands if isinstance(command, CustodyReport)]
        named = [report.row_id for report in reports]
        self._rows = Deposit.objects.in_bulk([i for i in named if i is not None])
        self._fetch_events(reports)
        self.wallet_ids = {row.wallet_id for row in self._rows.values()}
        self.deciders: dict[type[Command], Callable[[Any], Outcome]] = {
            RequestDeposit: self._request,
            CustodyReport: self._report,
        }
        self._appliers: dict[str, Callable[[CustodyReport], bool]] = {
            "deposit.confirmed": self._confirmed,
            "withdrawal.completed": withdrawals.completed,
            "withdrawal.failed": withdrawals.failed,
        }

    def _fetch_events(self, reports: list[CustodyReport]) -> None:
        told = Q(event_id__in=[report.event_id for report in reports])
        told |= Q(reference__in={report.reference for report in reports} - {""}, outcome="applied")
        self._events: set[str] = set()
        self._applied: set[tuple[str, str]] = set()
        for event in CustodyEvent.objects.filter(told):
            self._events.add(event.event_id)
            if event.outcome == "applied":
                self._applied.add((event.type, event.reference))

    def _request(self, command: RequestDeposit) -> Outcome:
        account = self._book.get(command.wallet_id)
        if account is None or account.kind != Wallet.Kind.PLAYER:
            return Refusal("not_found")
        if not 0 < command.amount_micros <= LIMITS.deposit_max_micros:
            return Refusal("invalid_request", {"field": "amount_micros"})
        deposit = self._open(account.id, command.amount_micros)
        return Done(deposit.pk)

    def _open(self, wallet_id: int, amount_micros: int) -> Deposit:
        deposit = Deposit(
            id=self._book.mint(),
            wallet_id=wallet_id,
            amount_micros=amount_micros,
            status=Deposit.Status.PENDING,
            created_at=clock.from_us(self._book.now_us),
        )
        self._changes.add(deposit)
        self._rows[deposit.pk] = deposit
        return deposit

    def _report(self, command: CustodyReport) -> Outcome:
        if command.event_id in self._events:
            return Reported("repeated")
        apply = self._appliers.get(command.type)
        if apply is None:
            return Refusal("invalid_request", {"field": "type"})
        known = command.reference != "" and (command.type, command.reference) in self._applied
        applied = not known and apply(command)
        if applied:
            self._applied.add((command.type, command.reference))
        outcome = Reported("applied" if applied else "unmatched")
        self._events.add(command.event_id)
        self._changes.add(
            CustodyEvent(
                id=self._book.mint(),
                event_id=command.event_id,
                type=command.type,
                reference=command.reference,
                address=command.address,
                amount_micros=command.amount_micros,
                outcome=outcome.outcome,
                created_at=clock.from_us(self._book.now_us),
            )
        )
        return outcome

    def _confirmed(self, command: CustodyReport) -> bool:
        """Credit what really arrived, to the wallet of the address that it came for."""
        account = self._by_address.get(command.address)
        if account is None or command.amount_micros <= 0:
            return False
        deposit = self._rows.get(command.row_id or 0)
        if deposit is None:
            deposit = self._open(account.id, command.amount_micros)
        elif deposit.wallet_id != account.id or deposit.status != Deposit.Status.PENDING:
            return False  # credited already, or not theirs: for people to look at
        deposit.amount_micros = command.amount_micros
        deposit.status = Deposit.Status.COMPLETED
        deposit.completed_at = clock.from_us(self._book.now_us)
        self._changes.mark(deposit)
        self._book.move(
            "DEPOSIT",
            self._book.account(CUSTODY),
            account,
            command.amount_micros,
            f"deposit:{deposit.pk}",
        )
        self._changes.tell(account)
        return True
