"""Defects planted on purpose: a simulation that does not find them is worth nothing.

Each is what somebody might have written, or the database might have been without.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

from django.db import connection, transaction

import wallet.writer
from bets import placing, pricing, settlement
from taptrading.errors import Refusal
from tests.simulation.history import History
from wallet import book, nonces
from wallet.inbox import Inbox, Request

Plant = Callable[[ExitStack], None]


def _replace(stack: ExitStack, target: Any, name: str, new: Any) -> Any:
    """What stood there before."""
    before = getattr(target, name)
    stack.enter_context(mock.patch.object(target, name, new))
    return before


def _in_each_history(stack: ExitStack, change: Callable[[History], None]) -> None:
    begin = History._begin

    def changed(self: History) -> None:
        change(self)
        begin(self)

    _replace(stack, History, "_begin", changed)


def _ledger(history: History) -> Any:
    return history.storage.databases["default"].raw


def answered_before_commit(stack: ExitStack) -> None:
    taken: list[Request] = []

    def take(self: Inbox) -> list[Request]:
        taken[:] = really_take(self)
        return list(taken)

    def transact(self: Any, commands: list[Any], works: list[Any]) -> list[Any]:
        outcomes: list[Any] = [None] * len(commands)
        with transaction.atomic(), connection.cursor() as cursor:
            page = book.Book(cursor, self._ids, self._now_us(), self._house_id)
            for work, _ in works:
                work.prefetch(page)
            for work, positions in works:
                for position in positions:
                    outcomes[position] = work.decide(commands[position])
            for work, _ in works:
                work.persist()
            page.persist()
            rest = iter(outcomes)
            if commands == [command for request in taken for command in request.commands]:
                for request in taken:
                    request.answer([next(rest) for _ in request.commands])
        return outcomes

    really_take = _replace(stack, Inbox, "take", take)
    _replace(stack, wallet.writer.Writer, "_transact", transact)


def stakes_without_cover(stack: ExitStack) -> None:
    def against(self: Any, bet: Any, account: Any) -> Refusal | None:
        refusal: Refusal | None = really_against(self, bet, account)
        return None if refusal and refusal.code == "insufficient_funds" else refusal

    def move(self: Any, kind: str, debit: Any, credit: Any, amount: int, reference: str) -> int:
        kinds, debit.kind = debit.kind, "custody"
        entry_id: int = really_move(self, kind, debit, credit, amount, reference)
        debit.kind = kinds
        return entry_id

    really_against = _replace(stack, placing.PlacingWork, "_against_bet", against)
    really_move = _replace(stack, book.Book, "move", move)
    _in_each_history(
        stack, lambda history: _ledger(history).execute("PRAGMA ignore_check_constraints=1")
    )


def book_read_before_begin(stack: ExitStack) -> None:
    """Accounts are kept from batch to batch, also from those that were not committed."""
    kept: dict[int, Any] = {}

    def init(self: Any, *args: Any) -> None:
        really_init(self, *args)
        for account in kept.values():
            account.before_micros = account.balance_micros
        self._accounts = kept

    really_init = _replace(stack, book.Book, "__init__", init)
    _in_each_history(stack, lambda _: kept.clear())


def paid_twice(stack: ExitStack) -> None:
    def resolve(self: Any, row: tuple[Any, ...], decision: Any) -> None:
        before = len(self._book.entries)
        really_resolve(self, row, decision)
        for entry in self._book.entries[before:]:
            house, player = self._book.house, self._book.account(row[0])
            self._book.move("PAYOUT", house, player, entry.amount_micros, f"again:{entry.id}")

    really_resolve = _replace(stack, settlement.SettlementWork, "_resolve", resolve)


def nonce_not_unique(stack: ExitStack) -> None:
    def prefetch(self: Any, page: Any) -> None:
        really_prefetch(self, page)
        self._used = {}

    really_prefetch = _replace(stack, placing.PlacingWork, "prefetch", prefetch)
    _in_each_history(stack, _drop_nonce_constraint)


def _drop_nonce_constraint(history: History) -> None:
    raw = _ledger(history)
    of_bets = "FROM sqlite_master WHERE tbl_name = 'bets_bet' AND sql IS NOT NULL"
    made = [sql for (sql,) in raw.execute(f"SELECT sql {of_bets} ORDER BY type DESC").fetchall()]
    constraint = ', CONSTRAINT "bet_nonce" UNIQUE ("wallet_id", "nonce")'
    assert constraint in made[0]
    raw.execute("DROP TABLE bets_bet")
    for sql in made:
        raw.execute(sql.replace(constraint, ""))


def seal_skipped(stack: ExitStack) -> None:
    def persist_seal(self: Any) -> None:
        if self.entries[0].kind != "REFUND":
            really_persist(self)

    really_persist = _replace(stack, book.Book, "_persist_seal", persist_seal)


def refund_forgotten(stack: ExitStack) -> None:
    def reject(self: Any, *args: Any) -> None:
        with mock.patch.object(self._book, "move"):
            really_reject(self, *args)

    really_reject = _replace(stack, pricing.PricingWork, "_reject", reject)


def accepted_bets_forgotten(stack: ExitStack) -> None:
    """A writer that starts does not look for bets that wait for their price."""
    _replace(stack, pricing, "_waiting", list)


def doubt_refused(stack: ExitStack) -> None:
    """A COMMIT that fails is taken for one that did not take place."""
    _replace(stack, wallet.writer, "_full", lambda _: True)


def refusals_forgotten(stack: ExitStack) -> None:
    """A nonce whose bet was refused for good is free again."""

    def settle(self: Any, give_back: Any, refused: Any) -> None:
        really_settle(self, [*give_back, *(bet for bet, _ in refused)], [])

    really_settle = _replace(stack, nonces.Nonces, "settle", settle)


def one_refusal_a_nonce(stack: ExitStack) -> None:
    """Of two requests with one nonce, the second's refusal is remembered."""
    _replace(stack, nonces, "_key", lambda bet: f"tap:nonce:{bet.wallet_id}:{bet.nonce}")


def decided_anew(stack: ExitStack) -> None:
    """Bets are resolved by a rule of the moment, not by the stored decision."""
    _replace(stack, settlement, "touches", lambda low, high, *band: low <= band[0] < high)


def key_use_kept(stack: ExitStack) -> None:
    """A rejected bet still counts against its session key."""

    def use(self: Any, key_id: int, stake_micros: int) -> None:
        if stake_micros > 0:
            really_use(self, key_id, stake_micros)

    really_use = _replace(stack, pricing.Caps, "use", use)


def liability_kept(stack: ExitStack) -> None:
    """A resolved bet still counts against its cell's room."""
    _replace(stack, settlement.Liabilities, "release", lambda *_: None)


def any_tick_prices(stack: ExitStack) -> None:
    """Bets are priced by the newest tick known when they were accepted."""
    _replace(stack, pricing, "_delay_us", lambda: -150_000)


BUGS: Final[dict[str, Plant]] = {
    plant.__name__: plant
    for plant in (
        answered_before_commit,
        stakes_without_cover,
        book_read_before_begin,
        paid_twice,
        nonce_not_unique,
        seal_skipped,
        refund_forgotten,
        accepted_bets_forgotten,
        doubt_refused,
        refusals_forgotten,
        one_refusal_a_nonce,
        decided_anew,
        key_use_kept,
        liability_kept,
        any_tick_prices,
    )
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        BUGS[name](stack)
        yield
