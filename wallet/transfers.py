"""Deposit, hold, release, withdraw, fund, adjust, freeze: commands and their handler.

These are few, so each is decided on rows that the ORM fetched for the whole batch. Repeating
any of them changes nothing: a deposit is credited once per event, a withdrawal moves forward only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from django.db.models import Q

from taptrading import audit, clock
from taptrading.audit import Note
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from taptrading.money import MAX_INT
from wallet.book import Account, Book
from wallet.events import Event, Told
from wallet.ids import CUSTODY, HOLD
from wallet.models import CustodyEvent, Deposit, LedgerEntry, Wallet, Withdrawal
from wallet.protocol import Command, Done, Outcome
from wallet.writer import largest_id

Status = Withdrawal.Status


class OpenWallet(Command, frozen=True, tag="open_wallet"):
    """Open the wallet of an address; done before, it names the same wallet."""

    address: str


class RequestDeposit(Command, frozen=True, tag="request_deposit"):
    wallet_id: int
    amount_micros: int


class RequestWithdrawal(Command, frozen=True, tag="request_withdrawal"):
    wallet_id: int
    amount_micros: int
    to_address: str
    nonce: str
    timestamp: int
    signature: bytes


class CancelWithdrawal(Command, frozen=True, tag="cancel_withdrawal"):
    wallet_id: int
    withdrawal_id: int


class ApproveWithdrawal(Command, frozen=True, tag="approve_withdrawal"):
    """A large one takes two people."""

    withdrawal_id: int
    by: str
    also_by: str = ""


class RejectWithdrawal(Command, frozen=True, tag="reject_withdrawal"):
    withdrawal_id: int
    by: str
    reason: str


class MarkSent(Command, frozen=True, tag="mark_sent"):
    withdrawal_id: int


class Reported(msgspec.Struct, array_like=True, frozen=True, tag="reported"):
    outcome: Literal["applied", "repeated", "unmatched"]


class CustodyReport(Command, frozen=True, tag="custody_report"):
    """What the custodian says has happened, once per `event_id`."""

    outcomes: ClassVar[Any] = Reported | Refusal
    event_id: str
    type: str
    reference: str
    address: str
    amount_micros: int


class FundHouse(Command, frozen=True, tag="fund_house"):
    """Move money that the custodian holds for the operator into the house, once a reference."""

    amount_micros: int
    reference: str
    by: str = ""
    also_by: str = ""
    reason: str = ""


class Adjust(Command, frozen=True, tag="adjust"):
    """Move money between the house and a player, or out of the house to the operator, once a
    reference. That two people want it is for whoever sends it to see to."""

    debit_wallet_id: int
    credit_wallet_id: int
    amount_micros: int
    reference: str
    by: str = ""
    also_by: str = ""
    reason: str = ""


class SetFrozen(Command, frozen=True, tag="set_frozen"):
    wallet_id: int
    frozen: bool
    by: str = ""
    reason: str = ""


KINDS: Final[tuple[type[Command], ...]] = (
    OpenWallet,
    RequestDeposit,
    RequestWithdrawal,
    CancelWithdrawal,
    ApproveWithdrawal,
    RejectWithdrawal,
    MarkSent,
    CustodyReport,
    FundHouse,
    Adjust,
    SetFrozen,
)

# From whom an adjustment may take, to whom it may give.
_ADJUSTED: Final = {("house", "player"), ("player", "house"), ("house", "custody")}


class TransferHandler:
    """`promised_micros` tells what the house may come to owe: no adjustment takes that."""

    commands = KINDS

    def __init__(self, promised_micros: Callable[[], int]) -> None:
        self._promised_micros = promised_micros

    def begin(self, commands: list[Command]) -> "TransferWork":
        return TransferWork(commands, self._promised_micros)

    def due(self, now_us: int) -> list[Command]:
        return []

    def largest_id(self) -> int:
        return largest_id("wallet_deposit", "wallet_withdrawal", "wallet_custodyevent")


class TransferWork:
    """One batch of transfers: rows by id, decisions, rows written back."""

    def __init__(self, commands: list[Command], promised_micros: Callable[[], int]) -> None:
        self._commands = commands
        self._promised_micros = promised_micros
        self._deciders: dict[type[Command], Callable[[Any], Outcome]] = {
            OpenWallet: self._open_wallet,
            RequestDeposit: self._request_deposit,
            RequestWithdrawal: self._request_withdrawal,
            CancelWithdrawal: self._cancel,
            ApproveWithdrawal: self._approve,
            RejectWithdrawal: self._reject,
            MarkSent: self._mark_sent,
            CustodyReport: self._custody_report,
            FundHouse: self._fund_house,
            Adjust: self._adjust,
            SetFrozen: self._set_frozen,
        }

    def admit(self) -> None:
        """Nothing outside the database has a say."""

    def prefetch(self, book: Book) -> None:
        self.book = book
        self._told: list[Event] = []
        self._notes: list[Note] = []
        self._forget: set[int] = set()
        self._new: list[Deposit | Withdrawal | CustodyEvent] = []
        self._dirty: dict[tuple[str, int], Deposit | Withdrawal] = {}
        commands = self._commands
        addresses = {c.address for c in commands if isinstance(c, OpenWallet | CustodyReport)}
        self._by_address = book.load_addresses(addresses)
        self._withdrawals = self._fetch_withdrawals()
        deposit_ids = [_id_in(c.reference) for c in commands if isinstance(c, CustodyReport)]
        self._deposits = Deposit.objects.in_bulk([i for i in deposit_ids if i is not None])
        self._fetch_events([c for c in commands if isinstance(c, CustodyReport)])
        self._funded = _entries("FUNDING", [c for c in commands if isinstance(c, FundHouse)])
        adjustments = [c for c in commands if isinstance(c, Adjust)]
        self._adjusted = _entries("ADJUSTMENT", adjustments)
        self._promised = self._promised_micros() if adjustments else 0
        book.load(
            {CUSTODY, HOLD}
            | {c.debit_wallet_id for c in adjustments}
            | {c.credit_wallet_id for c in adjustments}
            | {c.wallet_id for c in commands if hasattr(c, "wallet_id")}
            | {row.wallet_id for row in self._withdrawals.values()}
            | {row.wallet_id for row in self._deposits.values()}
        )

    def _fetch_events(self, reports: list[CustodyReport]) -> None:
        """Events told before, and transfers that were applied under whatever event."""
        told = Q(event_id__in=[report.event_id for report in reports])
        told |= Q(reference__in={report.reference for report in reports} - {""}, outcome="applied")
        self._events: set[str] = set()
        self._applied: set[tuple[str, str]] = set()
        for event in CustodyEvent.objects.filter(told):
            self._events.add(event.event_id)
            if event.outcome == "applied":
                self._applied.add((event.type, event.reference))

    def _fetch_withdrawals(self) -> dict[int, Withdrawal]:
        """Those named by the commands, and those whose nonces are about to be used again."""
        named: set[int] = set()
        reused = Q(pk__in=[])
        for command in self._commands:
            if isinstance(command, CustodyReport):
                named |= {i for i in [_id_in(command.reference)] if i is not None}
            elif isinstance(command, RequestWithdrawal):
                reused |= Q(wallet_id=command.wallet_id, nonce=UUID(command.nonce))
            elif hasattr(command, "withdrawal_id"):
                named.add(command.withdrawal_id)
        rows = Withdrawal.objects.filter(Q(pk__in=named) | reused)
        self._nonces = set()
        found = {}
        for row in rows:
            found[row.pk] = row
            self._nonces.add((row.wallet_id, row.nonce.hex))
        return found

    def decide(self, command: Command) -> Outcome:
        self._actor = _actor_of(command)
        self._reason = getattr(command, "reason", "")
        return self._deciders[type(command)](command)

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

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        if not committed:
            return []
        forget = [Event(wallet_id, "wallet.changed", 0, 0, {}) for wallet_id in self._forget]
        return [*self._told, *forget]

    # Wallets

    def _open_wallet(self, command: OpenWallet) -> Outcome:
        account = self._by_address.get(command.address)
        if account is None:
            account = self._by_address[command.address] = self.book.open_wallet(command.address)
            self._forget.add(account.id)
        return Done(account.id)

    def _set_frozen(self, command: SetFrozen) -> Outcome:
        account = self.book.get(command.wallet_id)
        if account is None or account.kind != Wallet.Kind.PLAYER:
            return Refusal("not_found")
        if account.frozen != command.frozen:
            frozen = {"frozen": account.frozen}, {"frozen": command.frozen}
            self._note("wallet.frozen", f"wallet:{account.id}", *frozen)
        account.frozen = command.frozen
        self._forget.add(account.id)
        self._tell(account)
        return Done(account.id)

    def _fund_house(self, command: FundHouse) -> Outcome:
        if command.amount_micros <= 0:
            return Refusal("invalid_request", {"field": "amount_micros"})
        if command.reference not in self._funded:
            custody = self.book.account(CUSTODY)
            self._funded[command.reference] = self.book.move(
                "FUNDING", custody, self.book.house, command.amount_micros, command.reference
            )
            self._note_moved("house.funded", command)
        return Done(self._funded[command.reference])

    def _adjust(self, command: Adjust) -> Outcome:
        """The house keeps what it has promised to pay, and nobody goes below zero."""
        if command.reference in self._adjusted:
            return Done(self._adjusted[command.reference])
        if command.amount_micros <= 0:
            return Refusal("invalid_request", {"field": "amount_micros"})
        debit = self.book.get(command.debit_wallet_id)
        credit = self.book.get(command.credit_wallet_id)
        if debit is None or credit is None or (debit.kind, credit.kind) not in _ADJUSTED:
            return Refusal("not_found")
        promised = self._promised if debit is self.book.house else 0
        room_micros = max(0, debit.balance_micros - promised)
        if room_micros < command.amount_micros:
            return Refusal("insufficient_funds", {"room_micros": room_micros})
        self._adjusted[command.reference] = self.book.move(
            "ADJUSTMENT", debit, credit, command.amount_micros, command.reference
        )
        self._note_moved("balance.adjusted", command)
        for account in (debit, credit):
            if account.kind == Wallet.Kind.PLAYER:
                self._tell(account)
        return Done(self._adjusted[command.reference])

    # Deposits

    def _request_deposit(self, command: RequestDeposit) -> Outcome:
        account = self.book.get(command.wallet_id)
        if account is None or account.kind != Wallet.Kind.PLAYER:
            return Refusal("not_found")
        if not 0 < command.amount_micros <= LIMITS.deposit_max_micros:
            return Refusal("invalid_request", {"field": "amount_micros"})
        deposit = self._new_deposit(account.id, command.amount_micros)
        return Done(deposit.pk)

    def _new_deposit(self, wallet_id: int, amount_micros: int) -> Deposit:
        deposit = Deposit(
            id=self.book.mint(),
            wallet_id=wallet_id,
            amount_micros=amount_micros,
            status=Deposit.Status.PENDING,
            created_at=clock.from_us(self.book.now_us),
        )
        self._new.append(deposit)
        self._deposits[deposit.pk] = deposit
        return deposit

    # What the custodian reports

    def _custody_report(self, command: CustodyReport) -> Outcome:
        if command.event_id in self._events:
            return Reported("repeated")
        apply = {
            "deposit.confirmed": self._deposit_confirmed,
            "withdrawal.completed": self._withdrawal_completed,
            "withdrawal.failed": self._withdrawal_failed,
        }.get(command.type)
        if apply is None:
            return Refusal("invalid_request", {"field": "type"})
        known = command.reference != "" and (command.type, command.reference) in self._applied
        applied = not known and apply(command)
        if applied:
            self._applied.add((command.type, command.reference))
        outcome = Reported("applied" if applied else "unmatched")
        self._events.add(command.event_id)
        self._new.append(
            CustodyEvent(
                id=self.book.mint(),
                event_id=command.event_id,
                type=command.type,
                reference=command.reference,
                address=command.address,
                amount_micros=command.amount_micros,
                outcome=outcome.outcome,
                created_at=clock.from_us(self.book.now_us),
            )
        )
        return outcome

    def _deposit_confirmed(self, command: CustodyReport) -> bool:
        """Credit what really arrived, to the wallet of the address that it came for."""
        account = self._by_address.get(command.address)
        if account is None or command.amount_micros <= 0:
            return False
        deposit = self._deposits.get(_id_in(command.reference) or 0)
        if deposit is None:
            deposit = self._new_deposit(account.id, command.amount_micros)
        elif deposit.wallet_id != account.id or deposit.status != Deposit.Status.PENDING:
            return False  # credited already, or not theirs: for people to look at
        deposit.amount_micros = command.amount_micros
        deposit.status = Deposit.Status.COMPLETED
        deposit.completed_at = clock.from_us(self.book.now_us)
        self._mark(deposit)
        self.book.move(
            "DEPOSIT",
            self.book.account(CUSTODY),
            account,
            command.amount_micros,
            f"deposit:{deposit.pk}",
        )
        self._tell(account)
        return True

    def _withdrawal_completed(self, command: CustodyReport) -> bool:
        row = self._reported_withdrawal(command)
        if row is None:
            return False
        hold, custody = self.book.account(HOLD), self.book.account(CUSTODY)
        self.book.move("WITHDRAWAL", hold, custody, row.amount_micros, f"withdrawal:{row.pk}")
        self._end_hold(row, Status.COMPLETED)
        return True

    def _withdrawal_failed(self, command: CustodyReport) -> bool:
        row = self._reported_withdrawal(command)
        if row is None:
            return False
        self._release(row, Status.FAILED)
        return True

    def _reported_withdrawal(self, command: CustodyReport) -> Withdrawal | None:
        """The withdrawal that the event is about, if it agrees with it and is on its way."""
        row = self._withdrawals.get(_id_in(command.reference) or 0)
        if row is None or row.status not in (Status.APPROVED, Status.SENT):
            return None
        if (row.to_address, row.amount_micros) != (command.address, command.amount_micros):
            return None
        return row

    # Withdrawals

    def _request_withdrawal(self, command: RequestWithdrawal) -> Outcome:
        account = self.book.get(command.wallet_id)
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
        now = clock.from_us(self.book.now_us)
        row = Withdrawal(
            id=self.book.mint(),
            wallet_id=account.id,
            amount_micros=command.amount_micros,
            to_address=command.to_address,
            nonce=UUID(command.nonce),
            timestamp=command.timestamp,
            signature=command.signature,
            status=Status.HELD,
            approve_after=clock.from_us(self.book.now_us + wait_s * clock.US_PER_S),
            created_at=now,
            changed_at=now,
        )
        account.held_micros += row.amount_micros
        hold = self.book.account(HOLD)
        self.book.move("HOLD", account, hold, row.amount_micros, f"withdrawal:{row.pk}")
        self._note_status(row, "")
        self._nonces.add((account.id, command.nonce))
        self._withdrawals[row.pk] = row
        self._new.append(row)
        self._tell(account)
        return Done(row.pk)

    def _cancel(self, command: CancelWithdrawal) -> Outcome:
        row = self._withdrawals.get(command.withdrawal_id)
        if row is None or row.wallet_id != command.wallet_id:
            return Refusal("not_found")
        return self._give_up(row, Status.CANCELLED)

    def _reject(self, command: RejectWithdrawal) -> Outcome:
        row = self._withdrawals.get(command.withdrawal_id)
        return Refusal("not_found") if row is None else self._give_up(row, Status.REJECTED)

    def _give_up(self, row: Withdrawal, status: Status) -> Outcome:
        if row.status == status:
            return Done(row.pk)
        if row.status != Status.HELD:
            return _too_late(row)
        self._release(row, status)
        return Done(row.pk)

    def _approve(self, command: ApproveWithdrawal) -> Outcome:
        row = self._withdrawals.get(command.withdrawal_id)
        if row is not None and row.status == Status.HELD:
            if clock.to_us(row.approve_after) > self.book.now_us:
                after = clock.iso_ms(clock.to_us(row.approve_after))
                return Refusal("forbidden", {"approve_after": after}, "Its address is too new.")
            if self.book.account(row.wallet_id).frozen:
                return Refusal("wallet_frozen")
            two = command.also_by not in ("", command.by)
            if row.amount_micros > LIMITS.withdrawal_approval_micros and not two:
                return Refusal("forbidden", message="It takes two people to approve so much.")
        return self._advance(command.withdrawal_id, Status.HELD, Status.APPROVED)

    def _mark_sent(self, command: MarkSent) -> Outcome:
        return self._advance(command.withdrawal_id, Status.APPROVED, Status.SENT)

    def _advance(self, withdrawal_id: int, before: Status, after: Status) -> Outcome:
        row = self._withdrawals.get(withdrawal_id)
        if row is None:
            return Refusal("not_found")
        if row.status == before:
            self._set_status(row, after)
        elif row.status != after:
            return _too_late(row)
        return Done(row.pk)

    def _release(self, row: Withdrawal, status: Status) -> None:
        owner = self.book.account(row.wallet_id)
        hold = self.book.account(HOLD)
        self.book.move("RELEASE", hold, owner, row.amount_micros, f"withdrawal:{row.pk}")
        self._end_hold(row, status)

    def _end_hold(self, row: Withdrawal, status: Status) -> None:
        owner = self.book.account(row.wallet_id)
        owner.held_micros -= row.amount_micros
        self.book.change(owner)
        self._set_status(row, status)
        self._tell(owner)

    # What has changed

    def _set_status(self, row: Withdrawal, status: Status) -> None:
        before, row.status = row.status, status
        self._mark(row)
        self._note_status(row, before)

    def _note_status(self, row: Withdrawal, before: str) -> None:
        after = {"status": str(row.status), "amount_micros": row.amount_micros}
        subject = f"withdrawal:{row.pk}"
        self._note("withdrawal.state", subject, {"status": str(before)} if before else {}, after)

    def _note_moved(self, action: str, command: FundHouse | Adjust) -> None:
        amounts = {"amount_micros": command.amount_micros}
        if isinstance(command, Adjust):
            amounts |= {"debit": command.debit_wallet_id, "credit": command.credit_wallet_id}
        self._note(action, command.reference, {}, amounts)

    def _note(
        self, action: str, subject: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        at_us = self.book.now_us
        note = Note(action, subject, before, after, self._reason, self._actor, at_us=at_us)
        self._notes.append(note)

    def _mark(self, row: Deposit | Withdrawal) -> None:
        if isinstance(row, Withdrawal):
            row.changed_at = clock.from_us(self.book.now_us)
        if row not in self._new:
            self._dirty[type(row).__name__, row.pk] = row

    def _tell(self, account: Account) -> None:
        account.next_cursor()
        self.book.change(account)
        # As it is now: another handler's work may change the wallet further in this batch.
        self._told.append(
            Event(
                account.id,
                "wallet.balance",
                account.cursor,
                account.balance_micros,
                account.as_json(),
            )
        )


def _entries(kind: str, commands: Sequence[FundHouse | Adjust]) -> dict[str, int]:
    """Ids of the entries that these references have already."""
    known = LedgerEntry.objects.filter(kind=kind, reference__in=[c.reference for c in commands])
    return dict(known.values_list("reference", "id")) if commands else {}


def _actor_of(command: Command) -> str:
    """Who is behind it, for the audit log."""
    if isinstance(command, CustodyReport):
        return "custodian"
    if isinstance(command, RequestWithdrawal | CancelWithdrawal):
        return f"wallet:{command.wallet_id}"
    by = getattr(command, "by", "") or audit.NOBODY
    also_by = getattr(command, "also_by", "")
    return f"{by}, {also_by}" if also_by else str(by)


def _too_late(row: Withdrawal) -> Refusal:
    return Refusal(
        "invalid_request", {"status": row.status}, f"The withdrawal is {row.status} already."
    )


def _id_in(reference: str) -> int | None:
    """The id that a custodian's reference holds, if it is one of ours."""
    if reference.isascii() and reference.isdecimal() and len(reference) <= 19:
        number = int(reference)
        return number if number <= MAX_INT else None
    return None
