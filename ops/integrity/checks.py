"""What must hold, and what is asked to find where it does not."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from ops.integrity import sql
from ops.integrity.dialects import dialect_of
from ops.integrity.findings import Finding, Report
from ops.models import AuditEntry
from taptrading import append_only
from wallet.triggers import TRIGGERS

CLAIMS: Final = {
    "balances_match_entries": "each wallet's balance is the sum of its entries",
    "sum_is_zero": "all balances sum to zero",
    "no_negative_balance": "no wallet but CUSTODY is, or ever was, below zero",
    "chain": "each entry starts from the balance that the wallet's entry before it left",
    "seals": "every entry is under one seal, and the chain of seals is what its entries hash to",
    "bets_have_entries": "each bet has the entries that its status needs, and no other",
    "entries_have_bets": "no entry speaks of a bet that does not exist",
    "one_outcome": "no reference has two entries of a kind, nor two outcomes",
    "payouts_match": "won bets pay stake x rate, rounded down; void and rejected ones the stake",
    "bet_states": "a bet holds its cell unless rejected, and has ended if its status says so",
    "outcomes_match_decisions": "bets are won, lost or void as their columns' decisions say",
    "transfers_have_entries": "deposits and withdrawals have the entries that their status needs",
    "open_stake_matches": "each wallet's open stake is that of its accepted and confirmed bets",
    "held_matches": "each wallet's held amount, and HOLD's balance, is that of its withdrawals",
    "exposure_matches": "each cell's liability is what its confirmed bets may win",
    "session_key_use": "each session key has used the stakes of the bets it signed",
    "custody_matches": "CUSTODY is below zero by what the local custodian holds",
    "triggers_present": "the triggers that keep ledger and audit log append-only are there",
}


class Questions:
    """Asks on one connection and writes down what it finds: a method a group of checks."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._dialect = dialect_of(connection)
        self.report = Report()

    def wallets(self) -> None:
        self.ask(sql.SUM)
        self.ask(sql.NEGATIVE)
        self.ask(sql.WRONG_OPEN_STAKE.format(open_bets=self._dialect.open_bets))
        self.ask(sql.WRONG_HELD)
        self.ask(sql.WRONG_EXPOSURE.format(open_bets=self._dialect.open_bets))
        if settings.DEMO:  # else the custodian's books are somebody else's
            self.ask(sql.WRONG_CUSTODY)

    def triggers(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(self._dialect.triggers)
            present = {name for (name,) in cursor.fetchall()}
        for name in (*TRIGGERS, *append_only.names(AuditEntry._meta.db_table)):
            if name not in present:
                self.report.add(Finding("triggers_present", "trigger", name, "there", "gone"))

    def keys(self) -> None:
        if self._row("SELECT count(*) FROM wallet_sessionkey") != (0,):
            self.ask(sql.WRONG_USE)

    def transfers(self) -> None:
        for question in (sql.STATUS_OF_DEPOSIT, sql.HOLD_OF_WITHDRAWAL, sql.END_OF_WITHDRAWAL):
            self.ask(question)
        for kind, table in (
            ("DEPOSIT", "wallet_deposit"),
            ("HOLD", "wallet_withdrawal"),
            ("WITHDRAWAL", "wallet_withdrawal"),
        ):
            prefix = table.removeprefix("wallet_")
            self.ask(
                sql.NO_TRANSFER.format(once=sql.ONCE, once_kind=kind, table=table, prefix=prefix),
            )

    def outcomes(self) -> None:
        self.ask(sql.WRONG_BETS)

    def references(self) -> None:
        self.ask(sql.TWICE)

    def bets(self) -> None:
        """To look for each bet's entries would be slow, so counts are compared first: if each
        entry is one that its bet needs, and no two are the same, equal counts leave none missing.
        """
        self.ask(sql.WRONG_ENTRIES.format(bet_id=self._dialect.bet_id.format("e.reference")))
        stray = bool(self.report.totals)
        bets, paid = self._row(sql.BET_COUNTS)
        for kind, which, needed in (
            ("STAKE", "1 = 1", bets),
            ("PAYOUT", "b.status IN ('won', 'rejected', 'void')", paid or 0),
        ):
            if stray or self._row(sql.ENTRY_COUNT, kind) != (needed,):
                self.ask(sql.NO_ENTRY.format(kind=kind, which=which))

    def _row(self, question: str, *values: str) -> tuple[Any, ...]:
        with self._connection.cursor() as cursor:
            cursor.execute(question, values)
            row: tuple[Any, ...] = cursor.fetchone()
            return row

    def ask(self, question: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql.BOUNDED.format(question))
            for claim, what, row_id, expected, found, total, number in cursor.fetchall():
                finding = Finding(claim, what, row_id, expected, found)
                self.report.add(finding, total if number == 1 else 0)


class Group(NamedTuple):
    """Checks that are asked together."""

    ask: Callable[[Questions], None]
    checks: tuple[str, ...]


# The long ones first.
GROUPS: Final = {
    "entries of bets": Group(Questions.bets, ("bets_have_entries", "entries_have_bets")),
    "outcomes": Group(
        Questions.outcomes, ("payouts_match", "outcomes_match_decisions", "bet_states")
    ),
    "references": Group(Questions.references, ("one_outcome",)),
    "session keys": Group(Questions.keys, ("session_key_use",)),
    "transfers": Group(Questions.transfers, ("transfers_have_entries",)),
    "wallets": Group(
        Questions.wallets,
        (
            *("sum_is_zero", "no_negative_balance", "open_stake_matches", "held_matches"),
            *("exposure_matches", "custody_matches"),
        ),
    ),
    "triggers": Group(Questions.triggers, ("triggers_present",)),
}
