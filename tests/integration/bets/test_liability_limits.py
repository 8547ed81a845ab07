"""What the house may promise, to the micro, and what pricing takes back with a stake."""

from collections.abc import Iterator

import msgspec
import pytest
from django.db import connection

from bets import liabilities
from bets.exposure import ExposureState
from bets.liabilities import Liabilities
from bets.models import Bet, CellExposure
from bets.quotes import EXPOSURE_KIND
from pricefeed.board import Board
from taptrading.errors import Broken
from taptrading.money import payout_micros
from tests import factories
from tests.factories import USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet.book import Book
from wallet.ids import IdMint
from wallet.keys import AuthorizeKey
from wallet.models import SessionKey
from wallet.protocol import Done

COLUMN = 1_764_000_015
HOUSE_USDC = 10_000
OF_BET = HOUSE_USDC * USDC // 200  # 0.5 %; a cell may have two such, a column twenty


@pytest.fixture
def promised(writer: InProcessLink, now: ManualClock) -> Iterator[Liabilities]:
    """Of a house with 10 000 USDC that has promised nothing."""
    factories.funded_house(writer, usdc=HOUSE_USDC)
    with connection.cursor() as cursor:
        book = Book(cursor, IdMint(), now.us)
        book.load([])
        yield Liabilities(book)


def take(promised: Liabilities, payout: int, *, column: int = 0, cell: int = 0) -> bool:
    return promised.take(COLUMN + 5 * column, 1_000 * cell, payout, 0)


def test_payout_when_it_is_all_a_bet_may_promise_then_one_more_is_refused(
    promised: Liabilities,
) -> None:
    assert not take(promised, OF_BET + 1)
    assert take(promised, OF_BET)


def test_payouts_when_they_fill_a_cell_then_one_more_is_refused(promised: Liabilities) -> None:
    assert take(promised, OF_BET)
    assert take(promised, OF_BET - 1)
    assert not take(promised, 2)
    assert take(promised, 1)
    assert not take(promised, 1)
    assert take(promised, 1, cell=1)


def test_payouts_when_they_fill_a_column_then_one_more_is_refused(promised: Liabilities) -> None:
    for number in range(20):
        assert take(promised, OF_BET, cell=number % 10)
    assert not take(promised, 1, cell=10)
    assert take(promised, 1, cell=10, column=1)


def test_payouts_when_they_fill_the_house_then_one_more_is_refused(
    promised: Liabilities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liabilities, "liability_shares", lambda h: (h, h, h, h // 2))
    half = HOUSE_USDC * USDC // 2
    assert not take(promised, half + 1)
    assert take(promised, half - 1)
    assert take(promised, 1, cell=1, column=1)
    assert not take(promised, 1, cell=2, column=2)


def test_payout_when_released_then_there_is_room_for_it_again(promised: Liabilities) -> None:
    assert take(promised, OF_BET)
    assert take(promised, OF_BET)
    promised.release(COLUMN, 0, OF_BET)
    assert take(promised, OF_BET)
    assert not take(promised, 1)


def test_persist_when_a_cell_owes_nothing_then_it_has_no_row(promised: Liabilities) -> None:
    take(promised, 5)
    take(promised, 7, cell=1)
    promised.persist()
    assert set(CellExposure.objects.values_list("low_cents", "liability_micros")) == {
        (0, 5),
        (1_000, 7),
    }
    promised.release(COLUMN, 0, 5)
    promised.release(COLUMN, 1_000, 3)
    promised.persist()
    assert set(CellExposure.objects.values_list("low_cents", "liability_micros")) == {(1_000, 4)}


# Pricing


def test_key_when_its_bet_is_rejected_then_it_may_stake_that_again(
    writer: InProcessLink, now: ManualClock, feed_board: Board
) -> None:
    factories.funded_house(writer)
    factories.tick(feed_board)
    player = factories.funded_wallet(writer)
    done = writer.call(
        AuthorizeKey(
            wallet_id=player.pk,
            key=factories.address(),
            label="phone",
            max_stake_micros=5 * USDC,
            max_total_micros=5 * USDC,
            expires_at_us=now.us + 3_600_000_000,
            nonce="0" * 32,
            timestamp=now.us // 1_000_000,
            signature=bytes(65),
        )
    )
    assert isinstance(done, Done)
    accepted(writer.call(place_command(player, key_id=done.id)))
    assert SessionKey.objects.get().used_micros == 5 * USDC
    now.advance(3)  # and no tick came
    writer.run_due()
    assert Bet.objects.get().status == "rejected"
    assert SessionKey.objects.get().used_micros == 0
    factories.tick(feed_board)
    accepted(writer.call(place_command(player, key_id=done.id)))


def test_bet_when_another_hand_has_priced_it_then_the_batch_breaks(
    writer: InProcessLink, now: ManualClock, feed_board: Board
) -> None:
    factories.funded_house(writer)
    factories.tick(feed_board)
    player = factories.funded_wallet(writer)
    accepted(writer.call(place_command(player)))
    Bet.objects.update(status="confirmed")
    now.advance(0.3)
    factories.tick(feed_board)
    with pytest.raises(Broken, match="a bet was priced outside the writer"):
        writer.run_due()


def test_exposure_when_a_process_starts_then_told_as_it_is_stored(
    writer: InProcessLink, now: ManualClock, feed_board: Board
) -> None:
    factories.funded_house(writer)
    nothing = msgspec.msgpack.decode(liabilities.current_exposure().payload, type=ExposureState)
    assert nothing == ExposureState(10_000_000 * USDC, [])
    factories.tick(feed_board)
    accepted(writer.call(place_command(factories.funded_wallet(writer))))
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    bet = Bet.objects.get()
    assert bet.rate_bps is not None
    owed = (bet.column_start, bet.low_cents, payout_micros(bet.stake_micros, bet.rate_bps))
    told = liabilities.current_exposure()
    assert told.kind == EXPOSURE_KIND
    stored = msgspec.msgpack.decode(told.payload, type=ExposureState)
    assert stored.house_balance_micros == 10_000_005 * USDC
    assert [tuple(cell) for cell in stored.cells] == [owed]
    assert writer.told[-1] == told  # the notice of the batch that changed it
