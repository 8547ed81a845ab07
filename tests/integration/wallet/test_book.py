"""The book of one batch by itself: what it reads, refuses to move, and writes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper

from taptrading import clock
from taptrading.errors import Broken
from tests import factories
from tests.fakes import InProcessLink
from wallet import seals
from wallet.book import Account, Book
from wallet.ids import CUSTODY, HOLD, HOUSE, IdMint
from wallet.models import LedgerEntry, Seal, Wallet
from wallet.seals import Entry
from wallet.transfers import FundHouse

USDC = 1_000_000
NOW_US = 1_764_000_000_123_456
NOBODY = 12_345


@pytest.fixture
def player(writer: InProcessLink) -> Wallet:
    """With 100 USDC, on a platform whose house has 50."""
    writer.call(FundHouse(50 * USDC, "test"))
    return factories.funded_wallet(writer, usdc=100)


@pytest.fixture
def cursor(player: Wallet) -> Iterator[CursorWrapper]:
    with connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def book(cursor: CursorWrapper) -> Book:
    last = LedgerEntry.objects.latest("id").pk
    return Book(cursor, IdMint(last=last), NOW_US)


@contextmanager
def statements() -> Iterator[list[str]]:
    """What the database is told meanwhile, with its parameters."""
    said: list[str] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        said.append(f"{sql} {params}")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield said


def stored(wallet: Wallet) -> tuple[object, ...]:
    wallet.refresh_from_db()
    return (
        *(wallet.balance_micros, wallet.held_micros, wallet.open_stake_micros),
        *(wallet.cursor, wallet.frozen),
    )


# Reading


def test_load_when_asked_then_as_stored_with_the_house_in_one_statement(
    book: Book, player: Wallet
) -> None:
    Wallet.objects.filter(pk=player.pk).update(
        held_micros=3, open_stake_micros=4, cursor=5, frozen=True
    )
    with statements() as said:
        book.load([player.pk, NOBODY])
    account = book.account(player.pk)
    assert (account.id, account.kind, account.address) == (player.pk, "player", player.address)
    assert (account.balance_micros, account.before_micros) == (100 * USDC, 100 * USDC)
    assert (account.held_micros, account.open_stake_micros, account.cursor) == (3, 4, 5)
    assert account.frozen is True
    assert (book.house.id, book.house.kind, book.house.frozen) == (HOUSE, "house", False)
    assert book.house.balance_micros == 50 * USDC
    assert book.get(NOBODY) is None
    assert len(said) == 1


def test_load_when_all_is_loaded_then_nothing_read_and_nothing_forgotten(
    book: Book, player: Wallet
) -> None:
    book.load([player.pk])
    account = book.account(player.pk)
    account.balance_micros -= 1
    with statements() as said:
        book.load([player.pk])
        assert book.load_addresses([account.address]) == {account.address: account}
    assert said == []
    book.load([player.pk, HOLD])
    assert book.account(player.pk) is account
    assert book.account(HOLD).kind == "hold"


def test_load_addresses_when_some_are_unknown_then_those_that_are_known(
    book: Book, player: Wallet
) -> None:
    other = Wallet.objects.create(
        id=NOBODY, kind="player", address=factories.address(), created_at=clock.from_us(NOW_US)
    )
    assert player.address is not None
    assert other.address is not None
    book.load([player.pk])
    account = book.account(player.pk)
    with statements() as said:
        found = book.load_addresses([player.address, other.address, factories.address()])
    assert found == {player.address: account, other.address: book.account(NOBODY)}
    assert len(said) == 1
    assert player.address not in said[0]  # it is loaded already
    assert other.address in said[0]


def test_load_when_the_house_is_another_then_that_one(cursor: CursorWrapper) -> None:
    book = Book(cursor, IdMint(), NOW_US, HOLD)
    book.load([])
    assert (book.house_id, book.house.id) == (HOLD, HOLD)
    assert book.get(HOUSE) is None


def test_account_when_it_was_not_loaded_then_broken(book: Book) -> None:
    with pytest.raises(Broken) as broken:
        book.account(NOBODY)
    assert str(broken.value) == f"wallet {NOBODY} was not loaded"


def test_account_when_something_changes_then_its_cursor_goes_up_by_one() -> None:
    account = Account(7, "player", "0xab", 1, 2, 3, 4, False)
    assert (account.next_cursor(), account.cursor) == (5, 5)
    assert account.as_json() == {
        "address": "0xab",
        "balance_micros": 1,
        "held_micros": 2,
        "open_stake_micros": 3,
        "frozen": False,
    }


# Moving


def test_move_when_the_balance_covers_it_to_the_micro_then_moved_and_entered(
    book: Book, player: Wallet
) -> None:
    book.load([player.pk])
    account, house = book.account(player.pk), book.house
    first = book.move("STAKE", account, house, 100 * USDC - 1, "bet:1")
    second = book.move("STAKE", account, house, 1, "bet:2")
    assert (account.balance_micros, house.balance_micros) == (0, 150 * USDC)
    assert first < second
    assert book.entries == [
        Entry(first, player.pk, HOUSE, 100 * USDC - 1, "STAKE", "bet:1", 1, 150 * USDC - 1, NOW_US),
        Entry(second, player.pk, HOUSE, 1, "STAKE", "bet:2", 0, 150 * USDC, NOW_US),
    ]


@pytest.mark.parametrize("amount", [0, -1])
def test_move_when_it_is_nothing_or_less_then_broken_and_nothing_moved(
    book: Book, player: Wallet, amount: int
) -> None:
    book.load([player.pk])
    account = book.account(player.pk)
    with pytest.raises(Broken) as broken:
        book.move("STAKE", account, book.house, amount, "bet:1")
    assert str(broken.value) == f"STAKE bet:1 moves {amount} micros"
    assert (account.balance_micros, book.house.balance_micros) == (100 * USDC, 50 * USDC)
    assert book.entries == []


@pytest.mark.parametrize("wallet_id", [HOUSE, HOLD])
def test_move_when_a_micro_is_missing_then_broken_and_nothing_moved(
    book: Book, player: Wallet, wallet_id: int
) -> None:
    book.load([player.pk, HOLD])
    debit, player_account = book.account(wallet_id), book.account(player.pk)
    before = debit.balance_micros
    with pytest.raises(Broken) as broken:
        book.move("PAYOUT", debit, player_account, before + 1, "bet:1")
    assert str(broken.value) == f"PAYOUT bet:1 overdraws wallet {wallet_id}"
    assert (debit.balance_micros, player_account.balance_micros) == (before, 100 * USDC)
    assert book.entries == []


def test_move_when_from_custody_then_below_zero(book: Book, player: Wallet) -> None:
    book.load([player.pk, CUSTODY])
    book.move("DEPOSIT", book.account(CUSTODY), book.account(player.pk), 7, "deposit:1")
    assert book.account(CUSTODY).balance_micros == -150 * USDC - 7
    assert book.entries[0].debit_balance_after_micros == -150 * USDC - 7


# Writing


def test_persist_when_money_moved_then_balances_entries_and_one_seal(
    book: Book, player: Wallet
) -> None:
    before = Seal.objects.latest("id")
    book.load([player.pk, HOLD])
    account, hold = book.account(player.pk), book.account(HOLD)
    account.held_micros += 30
    account.next_cursor()
    ids = [
        book.move("HOLD", account, hold, 30, "withdrawal:1"),
        book.move("STAKE", account, book.house, 5, "bet:1"),
    ]
    cursor = account.cursor
    book.persist()
    assert stored(player) == (100 * USDC - 35, 30, 0, cursor, False)
    assert Wallet.objects.get(pk=HOLD).balance_micros == 30
    assert Wallet.objects.get(pk=HOUSE).balance_micros == 50 * USDC + 5
    rows = list(LedgerEntry.objects.filter(pk__in=ids).order_by("id"))
    kept = [
        Entry(
            *(row.pk, row.debit_wallet_id, row.credit_wallet_id, row.amount_micros, row.kind),
            *(row.reference, row.debit_balance_after_micros, row.credit_balance_after_micros),
            clock.to_us(row.created_at),
        )
        for row in rows
    ]
    assert kept == book.entries
    seal = Seal.objects.latest("id")
    assert (seal.pk, seal.entries) == (before.pk + 1, 2)
    assert book.seal_number == seal.pk
    assert (seal.first_entry_id, seal.last_entry_id) == (ids[0], ids[1])
    assert clock.to_us(seal.created_at) == NOW_US
    assert bytes(seal.previous) == bytes(before.seal)
    leaves = [seals.leaf(entry) for entry in kept]
    assert bytes(seal.seal) == seals.seal(bytes(before.seal), leaves)


@pytest.mark.django_db
def test_persist_when_it_is_the_very_first_then_sealed_on_the_genesis(own_wallets: None) -> None:
    with connection.cursor() as cursor:
        book = Book(cursor, IdMint(), NOW_US)
        book.load([CUSTODY])
        entry_id = book.move("FUNDING", book.account(CUSTODY), book.house, 1, "a")
        book.persist()
    seal = Seal.objects.get()
    assert (seal.pk, seal.first_entry_id, seal.last_entry_id) == (1, entry_id, entry_id)
    assert bytes(seal.previous) == seals.GENESIS == bytes(32)


def test_persist_when_only_other_parts_changed_then_those_and_no_seal(
    book: Book, player: Wallet
) -> None:
    seals_before = Seal.objects.count()
    book.load([player.pk])
    account = book.account(player.pk)
    account.held_micros, account.open_stake_micros = 8, 9
    account.cursor, account.frozen = 10, True
    book.persist()
    assert stored(player)[1:3] == (0, 0)  # nobody said so
    book.change(account)
    book.persist()
    assert stored(player) == (100 * USDC, 8, 9, 10, True)
    assert (book.seal_number, Seal.objects.count()) == (0, seals_before)


def test_persist_when_nothing_changed_then_nothing_written(book: Book, player: Wallet) -> None:
    book.load([player.pk])
    with statements() as said:
        book.persist()
    assert said == []


def test_persist_when_a_wallet_was_opened_then_stored_with_what_came_in(
    book: Book, player: Wallet
) -> None:
    address = factories.address()
    book.load([player.pk])
    opened = book.open_wallet(address)
    assert (opened.kind, opened.balance_micros, opened.cursor) == ("player", 0, 0)
    assert (opened.held_micros, opened.open_stake_micros, opened.frozen) == (0, 0, False)
    assert book.account(opened.id) is opened
    assert book.load_addresses([address]) == {address: opened}
    book.move("ADJUSTMENT", book.account(player.pk), opened, 2, "two people")
    book.persist()
    wallet = Wallet.objects.get(address=address)
    assert (wallet.pk, wallet.kind, clock.to_us(wallet.created_at)) == (opened.id, "player", NOW_US)
    assert stored(wallet) == (2, 0, 0, 0, False)


def test_persist_when_a_balance_changed_meanwhile_then_broken(book: Book, player: Wallet) -> None:
    book.load([player.pk])
    book.move("STAKE", book.account(player.pk), book.house, 1, "bet:1")
    Wallet.objects.filter(pk=player.pk).update(balance_micros=99 * USDC)
    with pytest.raises(Broken) as broken:
        book.persist()
    assert str(broken.value) == "a balance changed outside the writer"
    assert not LedgerEntry.objects.filter(kind="STAKE").exists()
