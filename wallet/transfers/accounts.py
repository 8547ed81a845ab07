"""Wallets that are opened or frozen, and what people move by hand: funding and adjustments."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from taptrading.errors import Refusal
from wallet.book import Account
from wallet.ids import CUSTODY
from wallet.models import LedgerEntry, Wallet
from wallet.protocol import Command, Done, Outcome
from wallet.transfers.changes import Changes
from wallet.transfers.commands import Adjust, FundHouse, OpenWallet, SetFrozen

# From whom an adjustment may take, to whom it may give.
_ADJUSTED: Final = {("house", "player"), ("player", "house"), ("house", "custody")}


class Accounts:
    """`by_address` are the wallets of the batch's addresses; those that are opened come into it."""

    def __init__(
        self,
        changes: Changes,
        commands: list[Command],
        by_address: dict[str, Account],
        promised_micros: Callable[[], int],
    ) -> None:
        self._changes = changes
        self._book = changes.book
        self._by_address = by_address
        self._funded = _entries("FUNDING", [c for c in commands if isinstance(c, FundHouse)])
        adjustments = [c for c in commands if isinstance(c, Adjust)]
        self._adjusted = _entries("ADJUSTMENT", adjustments)
        self._promised = promised_micros() if adjustments else 0
        self.wallet_ids = {c.debit_wallet_id for c in adjustments}
        self.wallet_ids |= {c.credit_wallet_id for c in adjustments}
        self.deciders: dict[type[Command], Callable[[Any], Outcome]] = {
            OpenWallet: self._open_wallet,
            SetFrozen: self._set_frozen,
            FundHouse: self._fund_house,
            Adjust: self._adjust,
        }

    def _open_wallet(self, command: OpenWallet) -> Outcome:
        account = self._by_address.get(command.address)
        if account is None:
            account = self._by_address[command.address] = self._book.open_wallet(command.address)
            self._changes.forget.add(account.id)
        return Done(account.id)

    def _set_frozen(self, command: SetFrozen) -> Outcome:
        account = self._book.get(command.wallet_id)
        if account is None or account.kind != Wallet.Kind.PLAYER:
            return Refusal("not_found")
        if account.frozen != command.frozen:
            frozen = {"frozen": account.frozen}, {"frozen": command.frozen}
            self._changes.note("wallet.frozen", f"wallet:{account.id}", *frozen)
        account.frozen = command.frozen
        self._changes.forget.add(account.id)
        self._changes.tell(account)
        return Done(account.id)

    def _fund_house(self, command: FundHouse) -> Outcome:
        if command.amount_micros <= 0:
            return Refusal("invalid_request", {"field": "amount_micros"})
        if command.reference not in self._funded:
            custody = self._book.account(CUSTODY)
            self._funded[command.reference] = self._book.move(
                "FUNDING", custody, self._book.house, command.amount_micros, command.reference
            )
            self._note_moved("house.funded", command)
        return Done(self._funded[command.reference])

    def _adjust(self, command: Adjust) -> Outcome:
        """The house keeps what it has promised to pay, and nobody goes below zero."""
        if command.reference in self._adjusted:
            return Done(self._adjusted[command.reference])
        if command.amount_micros <= 0:
            return Refusal("invalid_request", {"field": "amount_micros"})
        debit = self._book.get(command.debit_wallet_id)
        credit = self._book.get(command.credit_wallet_id)
        if debit is None or credit is None or (debit.kind, credit.kind) not in _ADJUSTED:
            return Refusal("not_found")
        promised = self._promised if debit is self._book.house else 0
        room_micros = max(0, debit.balance_micros - promised)
        if room_micros < command.amount_micros:
            return Refusal("insufficient_funds", {"room_micros": room_micros})
        self._adjusted[command.reference] = self._book.move(
            "ADJUSTMENT", debit, credit, command.amount_micros, command.reference
        )
        self._note_moved("balance.adjusted", command)
        for account in (debit, credit):
            if account.kind == Wallet.Kind.PLAYER:
                self._changes.tell(account)
        return Done(self._adjusted[command.reference])

    def _note_moved(self, action: str, command: FundHouse | Adjust) -> None:
        amounts = {"amount_micros": command.amount_micros}
        if isinstance(command, Adjust):
            amounts |= {"debit": command.debit_wallet_id, "credit": command.credit_wallet_id}
        self._changes.note(action, command.reference, {}, amounts)


def _entries(kind: str, commands: Sequence[FundHouse | Adjust]) -> dict[str, int]:
    """Ids of the entries that these references have already."""
    known = LedgerEntry.objects.filter(kind=kind, reference__in=[c.reference for c in commands])
    return dict(known.values_list("reference", "id")) if commands else {}
