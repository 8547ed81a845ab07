"""Random lives of the platform: whatever is done in whatever order, the books add up after every
step. Each example runs through the real writer on the test's database and is rolled back."""

from typing import Any

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bets import tasks
from bets.handlers import game_handlers
from bets.liabilities import promised_micros
from bets.models import Bet, CellExposure
from pricefeed.board import Board
from taptrading.databases import PRICES
from taptrading.limits import PRESETS_MICROS
from taptrading.money import payout_micros
from tests import factories
from tests.factories import PRICE_CENTS, USDC, place_command
from tests.fakes import FakeNonces, in_process_link, standing_clock
from wallet import seals
from wallet.keys import KeyHandler
from wallet.models import LedgerEntry, Seal, Wallet, Withdrawal
from wallet.transfers import (
    ApproveWithdrawal,
    CancelWithdrawal,
    CustodyReport,
    MarkSent,
    RequestWithdrawal,
    SetFrozen,
    TransferHandler,
)

WALLETS = 3
wallets = st.integers(0, WALLETS - 1)
bet = st.tuples(
    st.just("bet"), wallets, st.integers(0, 4), st.integers(-2, 2), st.sampled_from(PRESETS_MICROS)
)
step = st.one_of(
    bet,
    bet,
    bet,
    st.tuples(st.just("ticks"), st.integers(1, 20), st.integers(-400, 400)),
    st.tuples(st.just("column"), st.integers(-400, 400)),
    st.tuples(st.just("column"), st.integers(-400, 400)),
    st.tuples(st.just("gap"), st.integers(1, 12)),
    st.tuples(st.just("deposit"), wallets, st.integers(1, 50)),
    st.tuples(st.just("withdraw"), wallets, st.integers(1, 200)),
    st.tuples(st.just("advance"), st.sampled_from(["cancel", "complete", "fail"])),
    st.tuples(st.just("freeze"), wallets, st.booleans()),
    st.tuples(st.just("settle")),
)


class Life:
    """One platform, and what can happen to it."""

    def __init__(self, link: Any, clock: Any, board: Board) -> None:
        self.link, self.clock, self.board = link, clock, board
        self.price_cents = PRICE_CENTS
        self.number = 0

    def begin(self) -> None:
        factories.funded_house(self.link, usdc=50_000)
        self.wallets = [factories.funded_wallet(self.link, usdc=200) for _ in range(WALLETS)]
        self.ticks(1, 0)
        for number in range(WALLETS):
            self.bet(number, number, 0, PRESETS_MICROS[number])

    def bet(self, wallet: int, column: int, band: int, stake_micros: int) -> None:
        low = self.price_cents // 1_000 * 1_000 + 1_000 * band
        start = self.clock.us // 1_000_000 // 5 * 5 + 10 + 5 * column
        changes = {"column_start": start, "low_cents": low, "high_cents": low + 1_000}
        command = place_command(self.wallets[wallet], stake_micros=stake_micros, **changes)
        self.link.run([command, command])  # and the same once more

    def ticks(self, count: int, drift_cents: int) -> None:
        for _ in range(count):
            self.clock.us = self.clock.us // 100_000 * 100_000 + 100_000
            self.price_cents += drift_cents // 10
            factories.tick(self.board, price_cents=self.price_cents)
            self.link.run_due()

    def column(self, drift_cents: int) -> None:
        """Long enough for the bets under way to be priced and their columns to pass; a tick a
        second is no gap."""
        self.ticks(4, 0)
        for _ in range(20):
            self.clock.advance(0.9)
            self.ticks(1, drift_cents)
        self.settle()

    def gap(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.link.run_due()

    def deposit(self, wallet: int, usdc: int) -> None:
        self.number += 1
        address = str(self.wallets[wallet].address)
        event = CustodyReport(
            f"d{self.number}", "deposit.confirmed", f"t{self.number}", address, usdc * USDC
        )
        self.link.run([event, event])

    def withdraw(self, wallet: int, usdc: int) -> None:
        self.number += 1
        owner = self.wallets[wallet]
        command = RequestWithdrawal(
            owner.pk, usdc * USDC, str(owner.address), f"{self.number:032x}", 0, bytes(65)
        )
        self.link.run([command, command])

    def advance(self, how: str) -> None:
        row = Withdrawal.objects.filter(status="held").first()
        if row is None:
            return
        if how == "cancel":
            self.link.call(CancelWithdrawal(row.wallet_id, row.pk))
            return
        self.link.run([ApproveWithdrawal(row.pk, "policy")])
        self.link.run([MarkSent(row.pk)])
        kind = "withdrawal.completed" if how == "complete" else "withdrawal.failed"
        for event_id in (f"w{row.pk}", f"again{row.pk}"):
            self.link.call(
                CustodyReport(event_id, kind, str(row.pk), row.to_address, row.amount_micros)
            )

    def freeze(self, wallet: int, frozen: bool) -> None:
        self.link.call(SetFrozen(self.wallets[wallet].pk, frozen))

    def settle(self) -> None:
        tasks.settle_due_columns()


def check_books() -> None:
    """Everything that must hold at any moment."""
    accounts = {wallet.pk: wallet for wallet in Wallet.objects.all()}
    assert sum(wallet.balance_micros for wallet in accounts.values()) == 0
    running = dict.fromkeys(accounts, 0)
    for entry in LedgerEntry.objects.order_by("id"):
        running[entry.debit_wallet_id] -= entry.amount_micros
        running[entry.credit_wallet_id] += entry.amount_micros
        assert running[entry.debit_wallet_id] == entry.debit_balance_after_micros
        assert running[entry.credit_wallet_id] == entry.credit_balance_after_micros
    for pk, wallet in accounts.items():
        assert running[pk] == wallet.balance_micros
        assert wallet.kind == "custody" or wallet.balance_micros >= 0
        still_open = Bet.objects.filter(wallet=wallet, status__in=["accepted", "confirmed"])
        assert wallet.open_stake_micros == _sum(still_open, "stake_micros")
        held = Withdrawal.objects.filter(wallet=wallet, status__in=["held", "approved", "sent"])
        assert wallet.held_micros == _sum(held, "amount_micros")
    check_bets()
    check_seals()


def check_bets() -> None:
    """A bet exists if and only if its stake entry does; it is paid once, what it should be."""
    owed = 0
    stakes = set(LedgerEntry.objects.filter(kind="STAKE").values_list("reference", flat=True))
    assert stakes == {f"bet:{pk}" for pk in Bet.objects.values_list("pk", flat=True)}
    for made in Bet.objects.all():
        paid = {
            entry.kind: entry.amount_micros
            for entry in LedgerEntry.objects.filter(reference=f"bet:{made.pk}")
            if entry.kind != "STAKE"
        }
        if made.status in ("rejected", "void"):
            assert paid == {"REFUND": made.stake_micros}
        elif made.status == "won":
            assert made.rate_bps is not None
            assert paid == {"PAYOUT": payout_micros(made.stake_micros, made.rate_bps)}
        else:
            assert paid == {}
        if made.status == "confirmed" and made.rate_bps is not None:
            assert made.rate_bps >= made.min_rate_bps
            owed += payout_micros(made.stake_micros, made.rate_bps)
    assert owed == _sum(CellExposure.objects.all(), "liability_micros")


def check_seals() -> None:
    previous, sealed = seals.GENESIS, 0
    for seal in Seal.objects.order_by("id"):
        assert bytes(seal.previous) == previous
        previous = bytes(seal.seal)
        sealed += seal.entries
    assert sealed == LedgerEntry.objects.count()


def _sum(rows: Any, field: str) -> int:
    return rows.aggregate(sum=Sum(field))["sum"] or 0


@pytest.mark.timeout(300)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(step, min_size=5, max_size=30))
def test_books_add_up_after_every_step_of_any_life(
    own_wallets: None, steps: list[tuple[Any, ...]]
) -> None:
    with transaction.atomic(), transaction.atomic(PRICES), standing_clock() as clock:
        board = Board()
        handlers = [
            TransferHandler(promised_micros),
            KeyHandler(),
            *game_handlers(FakeNonces(), board),
        ]
        with in_process_link(handlers) as link:
            life = Life(link, clock, board)
            life.begin()
            for name, *arguments in steps:
                getattr(life, name)(*arguments)
                check_books()
        transaction.set_rollback(True)
        transaction.set_rollback(True, PRICES)
