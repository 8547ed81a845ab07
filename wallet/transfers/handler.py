"""The handler of transfers: a batch's rows fetched at once, decided one by one, written at once."""

from collections.abc import Callable

from wallet.book import Book
from wallet.events import Told
from wallet.ids import CUSTODY, HOLD
from wallet.protocol import Command, Outcome
from wallet.transfers.accounts import Accounts
from wallet.transfers.changes import Changes
from wallet.transfers.commands import KINDS, CustodyReport, OpenWallet
from wallet.transfers.deposits import Deposits
from wallet.transfers.withdrawals import Withdrawals
from wallet.writer import largest_id


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
    """One batch of transfers."""

    def __init__(self, commands: list[Command], promised_micros: Callable[[], int]) -> None:
        self._commands = commands
        self._promised_micros = promised_micros

    def admit(self) -> None:
        """Nothing outside the database has a say."""

    def prefetch(self, book: Book) -> None:
        commands = self._commands
        addresses = {c.address for c in commands if isinstance(c, OpenWallet | CustodyReport)}
        by_address = book.load_addresses(addresses)
        self._changes = Changes(book)
        withdrawals = Withdrawals(self._changes, commands)
        deposits = Deposits(self._changes, commands, by_address, withdrawals)
        accounts = Accounts(self._changes, commands, by_address, self._promised_micros)
        self._deciders = withdrawals.deciders | deposits.deciders | accounts.deciders
        book.load(
            {CUSTODY, HOLD}
            | {c.wallet_id for c in commands if hasattr(c, "wallet_id")}
            | withdrawals.wallet_ids
            | deposits.wallet_ids
            | accounts.wallet_ids
        )

    def decide(self, command: Command) -> Outcome:
        self._changes.begin(command)
        return self._deciders[type(command)](command)

    def persist(self) -> None:
        self._changes.persist()

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        return self._changes.told() if committed else []
