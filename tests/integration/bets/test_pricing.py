"""Sealed pricing: worked examples through the writer, tick by tick."""

import pytest

from bets import liabilities, rates
from bets.grid import Cell
from bets.models import Bet, CellExposure
from bets.pricing import Unpriced
from pricefeed.board import Board, TickRecord
from taptrading.limits import LIMITS
from tests import factories
from tests.factories import PRICE_CENTS, USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet.ids import HOUSE
from wallet.models import LedgerEntry, Wallet


@pytest.fixture
def player(writer: InProcessLink, feed_board: Board) -> Wallet:
    factories.funded_house(writer)
    factories.tick(feed_board)
    return factories.funded_wallet(writer, usdc=100)


def rate_at(tick: TickRecord, bet: Bet) -> int:
    return rates.cell_rate(Cell(bet.column_start, bet.low_cents, bet.high_cents), tick)


def place(writer: InProcessLink, player: Wallet, **changes: int) -> Bet:
    return Bet.objects.get(pk=accepted(writer.call(place_command(player, **changes)))["bet_id"])


def test_bet_waits_for_the_first_tick_after_the_delay(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = place(writer, player)
    now.advance(0.2)
    factories.tick(feed_board)  # 200 ms after acceptance: still sealed
    writer.run_due()
    bet.refresh_from_db()
    assert bet.status == "accepted"
    now.advance(0.1)
    tick = factories.tick(feed_board, price_cents=PRICE_CENTS + 150)
    writer.run_due()
    bet.refresh_from_db()
    assert (bet.status, bet.pricing_tick) == ("confirmed", tick.seq)
    assert bet.rate_bps == rate_at(tick, bet)


def test_bet_is_priced_by_the_first_due_tick_even_if_seen_late(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = place(writer, player)
    ticks = []
    for step in range(1, 7):
        now.advance(0.1)
        ticks.append(factories.tick(feed_board, price_cents=PRICE_CENTS + 40 * step))
    writer.run_due()
    bet.refresh_from_db()
    assert bet.pricing_tick == ticks[2].seq  # 300 ms: the first at or after 250


def test_better_tick_gives_the_better_rate(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    screen = rates.cell_rate(
        Cell(*(getattr(place_command(player), f) for f in Cell._fields)), feed_board.tick
    )
    bet = place(writer, player, min_rate_bps=screen)
    now.advance(0.3)
    tick = factories.tick(feed_board, price_cents=PRICE_CENTS + 3_000)
    writer.run_due()
    bet.refresh_from_db()
    assert bet.status == "confirmed"
    assert bet.rate_bps == rate_at(tick, bet)
    assert bet.rate_bps > screen


def test_tick_below_the_smallest_rate_rejects_and_refunds_once(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    low = PRICE_CENTS // 1_000 * 1_000 + 3_000
    command = place_command(player, low_cents=low, high_cents=low + 1_000)
    screen = rates.cell_rate(Cell(command.column_start, low, low + 1_000), feed_board.tick)
    bet = place(writer, player, low_cents=low, high_cents=low + 1_000, min_rate_bps=screen)
    now.advance(0.3)
    factories.tick(feed_board, price_cents=PRICE_CENTS + 1_000)  # nearer: likelier, so lower
    writer.run_due()
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    bet.refresh_from_db()
    assert (bet.status, bet.reason, bet.rate_bps) == ("rejected", "rate_moved", None)
    player.refresh_from_db()
    assert (player.balance_micros, player.open_stake_micros) == (100 * USDC, 0)
    assert LedgerEntry.objects.filter(kind="REFUND", reference=f"bet:{bet.pk}").count() == 1
    assert CellExposure.objects.count() == 0
    # The cell is free again.
    place(writer, player, low_cents=low, high_cents=low + 1_000)


def test_no_tick_within_patience_rejects_and_refunds_once(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = place(writer, player)
    now.advance(2.0)
    writer.run_due()
    bet.refresh_from_db()
    assert bet.status == "accepted"
    now.advance(0.000_001)
    writer.run_due()
    now.advance(0.1)
    factories.tick(feed_board)
    writer.run_due()
    bet.refresh_from_db()
    assert (bet.status, bet.reason) == ("rejected", "price_stale")
    player.refresh_from_db()
    assert player.balance_micros == 100 * USDC
    assert LedgerEntry.objects.filter(kind="REFUND").count() == 1


def test_first_tick_after_a_long_gap_rejects_too(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = place(writer, player)
    now.advance(2.1)
    factories.tick(feed_board)
    writer.run_due()
    bet.refresh_from_db()
    assert (bet.status, bet.reason) == ("rejected", "price_stale")


def test_restarted_writer_prices_by_the_tick_recorded_meanwhile(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = place(writer, player)
    now.advance(0.3)
    tick = factories.tick(feed_board)
    now.advance(60)
    due = Unpriced(Board()).take_due(now.us)
    assert due is not None
    assert [waiting.facts[0] for waiting in due.bets] == [bet.pk]
    assert [t and t.seq for t in due.ticks] == [tick.seq]


def test_limit_reached_is_decided_in_order_of_acceptance(
    writer: InProcessLink, now: ManualClock, feed_board: Board
) -> None:
    factories.funded_house(writer, usdc=60_000)  # a cell may owe 1 %, one bet half of that
    factories.tick(feed_board)
    low = PRICE_CENTS // 1_000 * 1_000 + 4_000
    bets = [
        place(
            writer,
            factories.funded_wallet(writer),
            low_cents=low,
            high_cents=low + 1_000,
            stake_micros=50 * USDC,
        )
        for _ in range(4)
    ]
    now.advance(0.3)
    tick = factories.tick(feed_board)
    writer.run_due()
    payout = 50 * USDC * rate_at(tick, bets[0]) // 10_000
    room = Wallet.objects.get(pk=HOUSE).balance_micros // 100
    fitting = room // payout
    assert 1 <= fitting < 4
    assert [Bet.objects.get(pk=b.pk).status for b in bets] == ["confirmed"] * fitting + [
        "rejected"
    ] * (4 - fitting)
    assert Bet.objects.filter(reason="limit_reached").count() == 4 - fitting
    assert CellExposure.objects.get().liability_micros == fitting * payout


def test_stakes_that_may_have_to_be_given_back_promise_no_payout(
    writer: InProcessLink,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A house of 10 USDC that may promise all it has, and a stake of 100 that comes and goes."""
    monkeypatch.setattr(liabilities, "liability_shares", lambda house: (house,) * 4)
    factories.funded_house(writer, usdc=10)
    factories.tick(feed_board)
    small, large = factories.funded_wallet(writer), factories.funded_wallet(writer)
    far = PRICE_CENTS // 1_000 * 1_000 + 7_000
    bet = place(writer, small, low_cents=far, high_cents=far + 1_000)
    now.advance(0.3)
    unpriced = place(writer, large, stake_micros=100 * USDC)
    tick = factories.tick(feed_board)
    assert rate_at(tick, bet) > 40_000  # more than what the house has of its own
    writer.run_due()
    bet.refresh_from_db()
    assert (bet.status, bet.reason) == ("rejected", "limit_reached")
    now.advance(3)
    writer.run_due()
    unpriced.refresh_from_db()
    assert unpriced.status == "rejected"
    assert Wallet.objects.get(pk=HOUSE).balance_micros == 10 * USDC


def test_refused_batch_is_priced_again_by_the_same_tick(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from django.db import OperationalError

    bet = place(writer, player)
    now.advance(0.3)
    tick = factories.tick(feed_board)

    def disk_full(_: object) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("wallet.book.Book.persist", disk_full)
        for commands in writer.writer.due(now.us):
            writer.run(commands)
    bet.refresh_from_db()
    assert bet.status == "accepted"
    now.advance(0.1)
    factories.tick(feed_board, price_cents=PRICE_CENTS + 500)
    writer.run_due()
    bet.refresh_from_db()
    assert (bet.status, bet.pricing_tick) == ("confirmed", tick.seq)


def test_more_bets_than_a_batch_are_all_priced_by_their_recorded_tick(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    column = place_command(player).column_start
    for number in range(6):
        place(writer, player, column_start=column + 5 * number, stake_micros=USDC)
    now.advance(0.3)
    tick = factories.tick(feed_board)
    now.advance(60)  # the writer was away, and nothing announces a tick
    monkeypatch.setattr("bets.pricing.LIMITS", type(LIMITS)(price_batch=3))
    unpriced = Unpriced(Board())
    priced = []
    while due := unpriced.take_due(now.us):
        priced += [t and t.seq for t in due.ticks]
    assert priced == [tick.seq] * 6


def test_bets_are_not_given_up_while_ticks_are_left_to_read(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    column = place_command(player).column_start
    expected = []
    for number in range(3):
        place(writer, player, column_start=column + 5 * (number + 2), stake_micros=USDC)
        for _ in range(5):
            now.advance(0.1)
            seq = factories.tick(feed_board).seq
        expected.append(seq - 2)  # 300 ms after acceptance
    now.advance(60)
    monkeypatch.setattr("bets.pricing.TICKS_AT_ONCE", 4)
    unpriced = Unpriced(Board())
    priced = []
    while due := unpriced.take_due(now.us):
        priced += [t and t.seq for t in due.ticks]
    assert priced == expected
