"""Withdrawals: money held, then sent and gone, or given back. Each moves forward only."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import Q

from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet.ids import CUSTODY, HOLD
from wallet.models import Wallet, Withdrawal
from wallet.protocol import Command, Done, Outcome
from wallet.transfers.changes import Changes
from wallet.transfers.commands import (
    ApproveWithdrawal,
    CancelWithdrawal,
    CustodyReport,
    MarkSent,
    RejectWithdrawal,
    RequestWithdrawal,
)

Status = Withdrawal.Status


class Withdrawals:
    """Those named by a batch, and those whose nonces are about to be used again."""

    def __init__(self, changes: Changes, commands: list[Command]) -> None:
        self._changes = changes
        self._book = changes.book
        self._nonces: set[tuple[int, str]] = set()
        self._rows = self._fetch(commands)
        self.wallet_ids = {row.wallet_id for row in self._rows.values()}
        self.deciders: dict[type[Command], Callable[[Any], Outcome]] = {
            RequestWithdrawal: self._request,
            CancelWithdrawal: self._cancel,
            ApproveWithdrawal: self._approve,
            RejectWithdrawal: self._reject,
            MarkSent: self._mark_sent,
        }

    def _fetch(self, commands: list[Command]) -> dict[int, Withdrawal]:
        named: set[int] = set()
        reused = Q(pk__in=[])
        for command in commands:
            if isinstance(command, CustodyReport):
                named |= {i for i in [command.row_id] if i is not None}
            elif isinstance(command, RequestWithdrawal):
                reused |= Q(wallet_id=command.wallet_id, nonce=UUID(command.nonce))
            elif hasattr(command, "withdrawal_id"):
                named.add(command.withdrawal_id)
        found = {}
        for row in Withdrawal.objects.filter(Q(pk__in=named) | reused):
            found[row.pk] = row
            self._nonces.add((row.wallet_id, row.nonce.hex))
        return found

    def _request(self, command: RequestWithdrawal) -> Outcome:
        account = self._book.get(command.wallet_id)
        if account is None or account.kind != Wallet.Kind.PLAYER:
            return Refusal("unknown_wallet")
        if command.amount_micros <= 0:
            return Refusal("invalid_request", {"field": "amount_micros"})
        if account.frozen:
            return Refusal("wallet_frozen")
        if (account.id, command.nonce) in self._nonces:
            return Refusal("nonce_reused", message="This nonce already has a withdrawal.")
        if account.balance_micros < command.amount_micros:
            return Refusal("insufficient_funds", {"balance_micros": account.balance_micros})
        wait_s = 0 if command.to_address == account.address else LIMITS.withdrawal_new_address_s
        now = clock.from_us(self._book.now_us)
        row = Withdrawal(
            id=self._book.mint(),
            wallet_id=account.id,
            amount_micros=command.amount_micros,
            to_address=command.to_address,
            nonce=UUID(command.nonce),
            timestamp=command.timestamp,
            signature=command.signature,
            status=Status.HELD,
            approve_after=clock.from_us(self._book.now_us + wait_s * clock.US_PER_S),
            created_at=now,
            changed_at=now,
        )
        account.held_micros += row.amount_micros
        hold = self._book.account(HOLD)
        self._book.move("HOLD", account, hold, row.amount_micros, f"withdrawal:{row.pk}")
        self._note_status(row, "")
        self._nonces.add((account.id, command.nonce))
        self._rows[row.pk] = row
        self._changes.add(row)
        self._changes.tell(account)
        return Done(row.pk)

    def _cancel(self, command: CancelWithdrawal) -> Outcome:
        row = self._rows.get(command.withdrawal_id)
        if row is None or row.wallet_id != command.wallet_id:
            return Refusal("not_found")
        return self._give_up(row, Status.CANCELLED)

    def _reject(self, command: RejectWithdrawal) -> Outcome:
        row = self._rows.get(command.withdrawal_id)
        return Refusal("not_found") if row is None else self._give_up(row, Status.REJECTED)

    def _give_up(self, row: Withdrawal, status: Status) -> Outcome:
        if row.status == status:
            return Done(row.pk)
        if row.status != Status.HELD:
            return _too_late(row)
        self._release(row, status)
        return Done(row.pk)

    def _approve(self, command: ApproveWithdrawal) -> Outcome:
        row = self._rows.get(command.withdrawal_id)
        if row is not None and row.status == Status.HELD:
            if clock.to_us(row.approve_after) > self._book.now_us:
                after = clock.iso_ms(clock.to_us(row.approve_after))
                return Refusal("forbidden", {"approve_after": after}, "Its address is too new.")
            if self._book.account(row.wallet_id).frozen:
                return Refusal("wallet_frozen")
            two = command.also_by not in ("", command.by)
            if row.amount_micros > LIMITS.withdrawal_approval_micros and not two:
                return Refusal("forbidden", message="It takes two people to approve so much.")
        return self._advance(command.withdrawal_id, Status.HELD, Status.APPROVED)

    def _mark_sent(self, command: MarkSent) -> Outcome:
        return self._advance(command.withdrawal_id, Status.APPROVED, Status.SENT)

    def _advance(self, withdrawal_id: int, before: Status, after: Status) -> Outcome:
        row = self._rows.get(withdrawal_id)
        if row is None:
            return Refusal("not_found")
        if row.status == before:
            self._set_status(row, after)
        elif row.status != after:
            return _too_late(row)
        return Done(row.pk)

    # What the custodian reports

    def completed(self, command: CustodyReport) -> bool:
        row = self._reported(command)
        if row is None:
            return False
        hold, custody = self._book.account(HOLD), self._book.account(CUSTODY)
        self._book.move("WITHDRAWAL", hold, custody, row.amount_micros, f"withdrawal:{row.pk}")
        self._end_hold(row, Status.COMPLETED)
        return True

    def failed(self, command: CustodyReport) -> bool:
        row = self._reported(command)
        if row is None:
            return False
        self._release(row, Status.FAILED)
        return True

    def _reported(self, command: CustodyReport) -> Withdrawal | None:
        """The withdrawal that the event is about, if it agrees with it and is on its way."""
        row = self._rows.get(command.row_id or 0)
        if row is None or row.status not in (Status.APPROVED, Status.SENT):
            return None
        if (row.to_address, row.amount_micros) != (command.address, command.amount_micros):
            return None
        return row

    def _release(self, row: Withdrawal, status: Status) -> None:
        owner = self._book.account(row.wallet_id)
        hold = self._book.account(HOLD)
        self._book.move("RELEASE", hold, owner, row.amount_micros, f"withdrawal:{row.pk}")
        self._end_hold(row, status)

    def _end_hold(self, row: Withdrawal, status: Status) -> None:
        owner = self._book.account(row.wallet_id)
        owner.held_micros -= row.amount_micros
        self._book.change(owner)
        self._set_status(row, status)
        self._changes.tell(owner)

    def _set_status(self, row: Withdrawal, status: Status) -> None:
        before, row.status = row.status, status
        self._changes.mark(row)
        self._note_status(row, before)

    def _note_status(self, row: Withdrawal, before: str) -> None:
        was = {"status": str(before)} if before else {}
        now = {"status": str(row.status), "amount_micros": row.amount_micros}
        self._changes.note("withdrawal.state", f"withdrawal:{row.pk}", was, now)


def _too_late(row: Withdrawal) -> Refusal:
    return Refusal(
        "invalid_request", {"status": row.status}, f"The withdrawal is {row.status} already."
    )
