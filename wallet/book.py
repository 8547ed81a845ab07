"""The slice of the ledger that one batch works on: load wallets, move money, persist.

Nothing reaches the database before `persist`, so a decision can still be refused after others
of its batch have moved money, and the writes of a batch stand or fall together.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from django.db.backends.utils import CursorWrapper

from taptrading.errors import Broken
from wallet import guard, seals
from wallet.guard import Guard
from wallet.ids import HOUSE, IdMint
from wallet.seals import Entry

_COLUMNS: Final = (
    "id, kind, address, balance_micros, held_micros, open_stake_micros, cursor, frozen, guarded"
)
_LOAD: Final = f"SELECT {_COLUMNS} FROM wallet_wallet WHERE id IN (SELECT value FROM json_each(%s))"  # noqa: S608
_LOAD_BY_ADDRESS: Final = (
    f"SELECT {_COLUMNS} FROM wallet_wallet WHERE address IN (SELECT value FROM json_each(%s))"  # noqa: S608
)
_OPEN: Final = (
    "INSERT INTO wallet_wallet (id, kind, address, balance_micros, held_micros,"
    " open_stake_micros, cursor, frozen, created_at)"
    " VALUES (%s, 'player', %s, 0, 0, 0, 0, false, %s)"
)
_UPDATE: Final = (
    "UPDATE wallet_wallet SET balance_micros = balance_micros + %s, held_micros = %s,"
    " open_stake_micros = %s, cursor = %s, frozen = %s WHERE id = %s AND balance_micros = %s"
)
_INSERT_ENTRY: Final = (
    "INSERT INTO wallet_ledgerentry (id, debit_wallet_id, credit_wallet_id, amount_micros, kind,"
    " reference, debit_balance_after_micros, credit_balance_after_micros, created_at)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_LAST_SEAL: Final = "SELECT id, seal FROM wallet_seal ORDER BY id DESC LIMIT 1"
_INSERT_SEAL: Final = (
    "INSERT INTO wallet_seal (id, first_entry_id, last_entry_id, entries, previous, seal,"
    " created_at) VALUES (%s, %s, %s, %s, %s, %s, %s)"
)


class Account:
    """One wallet as this batch sees it. `guard`: its player's own limits, if it has any."""

    __slots__ = (
        "address",
        "balance_micros",
        "before_micros",
        "cursor",
        "frozen",
        "guard",
        "held_micros",
        "id",
        "kind",
        "open_stake_micros",
    )

    def __init__(
        self,
        id: int,
        kind: str,
        address: str,
        balance_micros: int,
        held_micros: int,
        open_stake_micros: int,
        cursor: int,
        frozen: bool,
        guarded: bool = False,
    ) -> None:
        self.id = id
        self.kind = kind
        self.address = address
        self.before_micros = self.balance_micros = balance_micros
        self.held_micros = held_micros
        self.open_stake_micros = open_stake_micros
        self.cursor = cursor
        self.frozen = bool(frozen)
        self.guard: Guard | None = None  # a guarded wallet's is loaded beside it

    def next_cursor(self) -> int:
        """Raise the wallet's cursor: something that its owner sees has changed."""
        self.cursor += 1
        return self.cursor

    def as_json(self) -> dict[str, object]:
        """`wallet` of the contract."""
        return {
            "address": self.address,
            "balance_micros": self.balance_micros,
            "held_micros": self.held_micros,
            "open_stake_micros": self.open_stake_micros,
            "frozen": self.frozen,
        }


class Book:
    """Balances and entries of one batch. `now_us` is the time of everything in it."""

    def __init__(self, cursor: CursorWrapper, ids: IdMint, now_us: int, house_id: int = HOUSE):
        self.cursor = cursor
        self.now_us = now_us
        self.house_id = house_id
        self._ids = ids
        self._accounts: dict[int, Account] = {}
        self._changed: dict[int, Account] = {}
        self._opened: list[Account] = []
        self.entries: list[Entry] = []
        self.seal_number = 0  # of these entries, once there are any

    def mint(self) -> int:
        return self._ids.next(self.now_us)

    def load(self, wallet_ids: Iterable[int]) -> None:
        """Read these wallets and the house's, once each, in one SELECT."""
        wanted = {*wallet_ids, self.house_id} - self._accounts.keys()
        if wanted:
            self._read(_LOAD, list(wanted))

    def load_addresses(self, addresses: Iterable[str]) -> dict[str, Account]:
        """Read the players' wallets at these addresses; unknown ones are left out."""
        wanted = set(addresses)
        known = {a.address: a for a in self._accounts.values() if a.address in wanted}
        if wanted - known.keys():
            self._read(_LOAD_BY_ADDRESS, list(wanted - known.keys()))
            known = {a.address: a for a in self._accounts.values() if a.address in wanted}
        return known

    def _read(self, statement: str, values: list[int] | list[str]) -> None:
        self.cursor.execute(statement, [msgspec.json.encode(values).decode()])
        rows = self.cursor.fetchall()
        for row in rows:
            self._accounts.setdefault(row[0], Account(*row))
        if guarded := [row[0] for row in rows if row[-1]]:
            for found in guard.load(self.cursor, guarded):
                self._accounts[found.wallet_id].guard = found

    def get(self, wallet_id: int) -> Account | None:
        return self._accounts.get(wallet_id)

    def account(self, wallet_id: int) -> Account:
        """A wallet that must be loaded; raises Broken."""
        try:
            return self._accounts[wallet_id]
        except KeyError:
            raise Broken(f"wallet {wallet_id} was not loaded") from None

    @property
    def house(self) -> Account:
        return self.account(self.house_id)

    def open_wallet(self, address: str) -> Account:
        """A new player's wallet."""
        account = Account(self.mint(), "player", address, 0, 0, 0, 0, False)
        self._accounts[account.id] = account
        self._opened.append(account)
        return account

    def change(self, account: Account) -> None:
        """Note that a cached part of the wallet other than its balance has changed."""
        self._changed[account.id] = account

    def move(self, kind: str, debit: Account, credit: Account, amount: int, reference: str) -> int:
        """Move `amount` micros and return the entry's id.

        Whether it may be moved was decided before; raises Broken if a balance that may not
        would fall below zero.
        """
        if amount <= 0:
            raise Broken(f"{kind} {reference} moves {amount} micros")
        if debit.balance_micros < amount and debit.kind != "custody":
            raise Broken(f"{kind} {reference} overdraws wallet {debit.id}")
        debit.balance_micros -= amount
        credit.balance_micros += amount
        self._changed[debit.id] = debit
        self._changed[credit.id] = credit
        if debit.guard is not None or credit.guard is not None:
            _count(kind, debit, credit, amount, reference)
        now_us = self.now_us
        entry_id = self._ids.next(now_us)
        after = (debit.balance_micros, credit.balance_micros)
        self.entries.append(
            Entry(entry_id, debit.id, credit.id, amount, kind, reference, *after, now_us)
        )
        return entry_id

    def persist(self) -> None:
        """Write wallets, entries, balances and the seal. Raises Broken if a wallet changed
        under the batch, which nothing but the writer may do."""
        if self._opened:
            self.cursor.executemany(_OPEN, [(a.id, a.address, self.now_us) for a in self._opened])
        if self._changed:
            self.cursor.executemany(_UPDATE, [_update(a) for a in self._changed.values()])
            if self.cursor.rowcount != len(self._changed):
                raise Broken("a balance changed outside the writer")
            guards = [a.guard for a in self._changed.values() if a.guard is not None]
            if guards:
                guard.save(self.cursor, guards)
        if self.entries:
            self.cursor.executemany(_INSERT_ENTRY, self.entries)
            self._persist_seal()

    def _persist_seal(self) -> None:
        self.cursor.execute(_LAST_SEAL)
        number, previous = self.cursor.fetchone() or (0, seals.GENESIS)
        previous = bytes(previous)
        sealed = seals.seal(previous, map(seals.leaf, self.entries))
        self.seal_number = number + 1
        first, last = self.entries[0].id, self.entries[-1].id
        self.cursor.execute(
            _INSERT_SEAL,
            [self.seal_number, first, last, len(self.entries), previous, sealed, self.now_us],
        )


def _count(kind: str, debit: Account, credit: Account, amount: int, reference: str) -> None:
    """Tell a player's limits what a bet takes and gives."""
    player, micros = (debit.guard, amount) if kind == "STAKE" else (credit.guard, -amount)
    if player is not None and kind in ("STAKE", "PAYOUT", "REFUND"):
        player.count(int(reference.removeprefix("bet:")), micros)


def _update(account: Account) -> tuple[int, int, int, int, int, int, int]:
    return (
        account.balance_micros - account.before_micros,
        account.held_micros,
        account.open_stake_micros,
        account.cursor,
        int(account.frozen),  # the driver binds an int at once; for a bool it asks around first
        account.id,
        account.before_micros,
    )
