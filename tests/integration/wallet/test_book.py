"""The book's own guards: what no decision should ever come to breaks the batch."""

from collections.abc import Iterator

import pytest
from django.db import connection

from taptrading.errors import Broken
from tests import factories
from tests.factories import USDC
from tests.fakes import InProcessLink, ManualClock
from wallet.book import Book
from wallet.ids import CUSTODY, HOUSE, IdMint
from wallet.models import LedgerEntry, Wallet
from wallet.protocol import Done
from wallet.transfers import FundHouse, OpenWallet
from wallet.writer import Writer


@pytest.fixture
def book(writer: InProcessLink, now: ManualClock) -> Iterator[Book]:
    """The page of a batch of its own, with an empty house on it."""
    with connection.cursor() as cursor:
        yield Book(cursor, IdMint(1), now.us)


def entries() -> int:
    return LedgerEntry.objects.count()


@pytest.mark.parametrize("changed", ["debit", "credit"])
def test_persist_when_a_balance_changed_under_the_batch_then_broken(
    writer: InProcessLink, book: Book, changed: str
) -> None:
    player = factories.funded_wallet(writer, usdc=10)
    book.load([player.pk])
    book.move("STAKE", book.account(player.pk), book.house, USDC, "bet:1")
    before = entries()
    pk = player.pk if changed == "debit" else HOUSE
    Wallet.objects.filter(pk=pk).update(balance_micros=3 * USDC)
    with pytest.raises(Broken, match="a balance changed outside the writer"):
        book.persist()
    assert entries() == before
    assert Wallet.objects.get(pk=pk).balance_micros == 3 * USDC


@pytest.mark.parametrize("more", [0, 1])
def test_move_when_the_debited_wallet_has_less_then_broken(
    writer: InProcessLink, book: Book, more: int
) -> None:
    player = factories.funded_wallet(writer, usdc=10)
    book.load([player.pk])
    account = book.account(player.pk)
    if more:
        with pytest.raises(Broken, match=f"STAKE bet:1 overdraws wallet {player.pk}"):
            book.move("STAKE", account, book.house, 10 * USDC + more, "bet:1")
    else:
        book.move("STAKE", account, book.house, 10 * USDC, "bet:1")
    assert account.balance_micros == (10 * USDC if more else 0)
    assert len(book.entries) == (0 if more else 1)


def test_move_when_the_custodians_side_is_debited_then_below_zero(book: Book) -> None:
    book.load([CUSTODY])
    book.move("FUNDING", book.account(CUSTODY), book.house, USDC, "x")
    assert (book.account(CUSTODY).balance_micros, book.house.balance_micros) == (-USDC, USDC)


@pytest.mark.parametrize("amount", [0, -1])
def test_move_when_the_amount_is_not_above_zero_then_broken(
    writer: InProcessLink, book: Book, amount: int
) -> None:
    player = factories.funded_wallet(writer, usdc=10)
    book.load([player.pk])
    with pytest.raises(Broken, match=f"STAKE bet:1 moves {amount} micros"):
        book.move("STAKE", book.account(player.pk), book.house, amount, "bet:1")
    assert book.entries == []


def test_account_when_the_wallet_was_not_loaded_then_broken(book: Book) -> None:
    assert book.get(12_345) is None
    with pytest.raises(Broken, match="wallet 12345 was not loaded"):
        book.account(12_345)


def test_load_when_a_wallet_is_on_the_page_then_it_stays_as_the_batch_left_it(
    writer: InProcessLink, book: Book
) -> None:
    player = factories.funded_wallet(writer, usdc=10)
    account = book.load_addresses([str(player.address)])[str(player.address)]
    book.load([player.pk])
    book.move("STAKE", account, book.house, USDC, "bet:1")
    book.load([player.pk, HOUSE])
    assert book.account(player.pk) is account
    assert book.load_addresses([str(player.address), "0x" + "ee" * 20]) == {player.address: account}
    assert account.balance_micros == 9 * USDC


def test_batch_when_the_clock_steps_back_then_not_before_the_last_one(
    writer: InProcessLink, now: ManualClock
) -> None:
    writer.call(FundHouse(USDC, "first"))
    now.advance(-3_600)
    writer.call(FundHouse(USDC, "second"))
    first, second = LedgerEntry.objects.order_by("id")
    assert (first.reference, second.reference) == ("first", "second")
    assert second.created_at == first.created_at


def test_writer_when_it_starts_under_an_older_clock_then_ids_go_on(
    writer: InProcessLink, now: ManualClock
) -> None:
    factories.funded_wallet(writer)
    newest = max(
        LedgerEntry.objects.latest("id").pk,
        Wallet.objects.latest("id").pk,
    )
    now.advance(-86_400)
    (outcome,), _ = Writer(writer.writer.handlers).run([OpenWallet(factories.address())])
    assert isinstance(outcome, Done)
    assert outcome.id > newest
