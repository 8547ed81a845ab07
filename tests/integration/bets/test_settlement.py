"""Settlement: decided once, paid by the stored decision, whatever the workers do."""

import pytest
from django.db import OperationalError

from bets import tasks
from bets.models import Bet, CellExposure, Settlement
from bets.resolution import Vertex, inflate_evidence, resolve_column
from bets.settlement import SettleBets, Settled, decide_command
from pricefeed import recorder
from pricefeed.board import Board
from taptrading.limits import LIMITS
from tests import factories
from tests.factories import PRICE_CENTS, USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet.models import LedgerEntry, Wallet


@pytest.fixture
def player(writer: InProcessLink, feed_board: Board) -> Wallet:
    factories.funded_house(writer)
    factories.tick(feed_board)
    return factories.funded_wallet(writer, usdc=100)


def confirmed(
    writer: InProcessLink, player: Wallet, now: ManualClock, board: Board, low: int
) -> Bet:
    command = place_command(player, low_cents=low, high_cents=low + 1_000)
    bet_id = accepted(writer.call(command))["bet_id"]
    now.advance(0.3)
    factories.tick(board)
    writer.run_due()
    bet = Bet.objects.get(pk=bet_id)
    assert bet.status == "confirmed"
    return bet


def run_column(now: ManualClock, board: Board, bet: Bet, price_cents: int) -> None:
    """Ticks at this price from before the column's start to its end."""
    now.us = bet.column_start * 1_000_000 - 100_000
    for _ in range(52):
        factories.tick(board, price_cents=price_cents)
        now.advance(0.1)


OWN = PRICE_CENTS // 1_000 * 1_000


def test_touched_cell_wins_its_rate(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = confirmed(writer, player, now, feed_board, OWN)
    run_column(now, feed_board, bet, PRICE_CENTS)
    assert tasks.settle_due_columns() == 1
    bet.refresh_from_db()
    assert bet.rate_bps is not None
    assert (bet.status, bet.payout_micros) == ("won", 5 * USDC * bet.rate_bps // 10_000)
    player.refresh_from_db()
    assert player.balance_micros == 95 * USDC + bet.payout_micros
    assert player.open_stake_micros == 0
    assert CellExposure.objects.count() == 0
    assert sum(Wallet.objects.values_list("balance_micros", flat=True)) == 0


def test_untouched_cell_loses_its_stake(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = confirmed(writer, player, now, feed_board, OWN + 2_000)
    run_column(now, feed_board, bet, PRICE_CENTS)
    assert tasks.settle_due_columns() == 1
    bet.refresh_from_db()
    assert (bet.status, bet.payout_micros) == ("lost", 0)
    player.refresh_from_db()
    assert (player.balance_micros, player.open_stake_micros) == (95 * USDC, 0)
    settlement = Settlement.objects.get(column_start=bet.column_start)
    assert (settlement.state, settlement.low_cents) == ("settled", PRICE_CENTS)
    assert len(inflate_evidence(settlement.evidence).splitlines()) == settlement.ticks == 51


def test_column_with_a_gap_is_void_and_refunded(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = confirmed(writer, player, now, feed_board, OWN)
    now.us = bet.column_start * 1_000_000
    factories.tick(feed_board)
    now.advance(2.1)
    factories.tick(feed_board)
    now.advance(2.9)
    factories.tick(feed_board)
    assert tasks.settle_due_columns() == 1
    bet.refresh_from_db()
    assert (bet.status, bet.reason, bet.payout_micros) == ("void", "gap", 5 * USDC)
    player.refresh_from_db()
    assert player.balance_micros == 100 * USDC
    assert LedgerEntry.objects.filter(kind="REFUND").count() == 1


def test_column_without_recording_is_void_after_its_patience_and_not_before(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = confirmed(writer, player, now, feed_board, OWN)
    end_us = (bet.column_start + LIMITS.column_s) * 1_000_000
    now.us = end_us + LIMITS.recording_patience_ms * 1_000
    assert tasks.settle_due_columns() == 0
    now.us += 1
    assert tasks.settle_due_columns() == 1
    bet.refresh_from_db()
    assert (bet.status, bet.reason) == ("void", "no_ticks")


def test_worker_that_sleeps_between_reading_and_deciding_finds_nothing_missing(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bet = confirmed(writer, player, now, feed_board, OWN)
    now.us = (bet.column_start + LIMITS.column_s) * 1_000_000
    read = recorder.ticks_of_column

    def read_and_sleep(column_start: int, column_s: int) -> list[recorder.Vertex]:
        found = read(column_start, column_s)
        if column_start == bet.column_start:
            run_column(now, feed_board, bet, PRICE_CENTS)
            now.advance(LIMITS.recording_patience_ms / 1_000)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(recorder, "ticks_of_column", read_and_sleep)
        assert tasks.settle_due_columns() == 0
    assert tasks.settle_due_columns() == 1
    bet.refresh_from_db()
    assert bet.status == "won"


def test_worker_that_cannot_look_at_the_ticks_alone_decides_nothing_missing(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever holds the lock may be about to commit a tick that was recorded in time."""
    bet = confirmed(writer, player, now, feed_board, OWN)
    now.us = (bet.column_start + LIMITS.column_s) * 1_000_000 + 60_000_001

    def locked() -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(recorder, "standstill", locked)
        assert tasks.settle_due_columns() == 0
    assert tasks.settle_due_columns() == 1


def test_second_opinion_after_the_decision_pays_nothing_more(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    """One worker finds HIT while another decides VOID: the first one stored counts."""
    bet = confirmed(writer, player, now, feed_board, OWN)
    run_column(now, feed_board, bet, PRICE_CENTS)
    ticks = [Vertex(*t) for t in recorder.ticks_of_column(bet.column_start, LIMITS.column_s)]
    hit = resolve_column(bet.column_start, ticks, now.us)
    void = resolve_column(bet.column_start, ticks[:1], now.us + 120_000_000)
    assert hit is not None
    assert void is not None
    assert (hit.state, void.state) == ("settled", "void")
    settle = SettleBets(bet.column_start)
    outcomes = writer.run([decide_command(void), decide_command(hit), settle, settle])
    assert outcomes[2:] == [Settled(1), Settled(0)]
    assert writer.call(settle) == Settled(0)
    assert tasks.settle_due_columns() == 0
    bet.refresh_from_db()
    assert bet.status == "void"
    paid = LedgerEntry.objects.filter(reference=f"bet:{bet.pk}").exclude(kind="STAKE")
    assert [entry.kind for entry in paid] == ["REFUND"]


def test_what_is_recorded_after_the_decision_does_not_count(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    bet = confirmed(writer, player, now, feed_board, OWN)
    now.us = (bet.column_start + LIMITS.column_s) * 1_000_000 + 60_000_001
    assert tasks.settle_due_columns() == 1
    run_column(now, feed_board, bet, PRICE_CENTS)
    assert tasks.settle_due_columns() == 0
    bet.refresh_from_db()
    assert bet.status == "void"


def test_large_column_is_settled_in_bounded_batches(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    players = [factories.funded_wallet(writer) for _ in range(7)]
    for outcome in writer.run([place_command(p) for p in players]):
        accepted(outcome)
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    bet = Bet.objects.filter(status="confirmed").first()
    assert bet is not None
    run_column(now, feed_board, bet, PRICE_CENTS)
    limits = type(LIMITS)(settle_batch=1, settle_most=3)
    for module in ("settlement", "tasks"):
        monkeypatch.setattr(f"bets.{module}.LIMITS", limits)
    monkeypatch.setattr(tasks, "BATCHES", 1)  # one would do, if it might be as large as it likes
    seen: list[int] = []
    real = writer.call

    def watched(command: object) -> object:
        outcome = real(command)
        if isinstance(outcome, Settled):
            seen.append(outcome.bets)
        return outcome

    monkeypatch.setattr("bets.tasks.link.call", watched)
    assert tasks.settle_due_columns() == 7
    assert seen == [3, 3, 1]
    assert sum(Wallet.objects.values_list("balance_micros", flat=True)) == 0


def test_columns_without_ticks_or_bets_are_left_alone(writer: InProcessLink) -> None:
    assert tasks.settle_due_columns() == 0
    assert Settlement.objects.count() == 0
