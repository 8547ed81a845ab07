"""What settlement pays, stores and tells: every field, at the very bounds."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import pytest
from django.db import OperationalError, connection

from bets import counts
from bets.exposure import ExposureState
from bets.grid import column_of
from bets.models import Bet, Settlement
from bets.quotes import EXPOSURE_KIND
from bets.resolution import ColumnDecision, inflate_evidence
from bets.settlement import (
    DecideColumn,
    SettleBets,
    Settled,
    SettlementWork,
    closed_columns,
    decide_command,
    lag_s,
    overdue,
)
from bets.wire import BetFacts, bet_json
from pricefeed.board import Board
from taptrading import clock
from taptrading.errors import Broken, Refusal
from taptrading.limits import LIMITS
from taptrading.money import payout_micros
from tests import factories
from tests.factories import PRICE_CENTS, USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet.book import Book
from wallet.events import Event, Notice, Told
from wallet.ids import HOUSE, IdMint
from wallet.models import LedgerEntry, Wallet
from wallet.protocol import Done
from wallet.writer import Writer

OWN = PRICE_CENTS // 1_000 * 1_000
STAKE = 5 * USDC


@dataclass
class Table:
    """A player with a confirmed bet on each of two cells of one column."""

    player: Wallet
    low: Bet
    high: Bet

    @property
    def column_start(self) -> int:
        return self.low.column_start


@pytest.fixture(autouse=True)
def whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that settlement writes is refused by the database."""

    def split(self: Writer, commands: object, works: object) -> None:
        pytest.fail("the database refused a batch")

    monkeypatch.setattr(Writer, "_run_one_by_one", split)


@pytest.fixture
def table(writer: InProcessLink, feed_board: Board, now: ManualClock) -> Table:
    factories.funded_house(writer)
    factories.tick(feed_board)
    player = factories.funded_wallet(writer, usdc=100)
    lows = (OWN, OWN + 1_000)
    ids = [
        accepted(writer.call(place_command(player, low_cents=low, high_cents=low + 1_000)))
        for low in lows
    ]
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    low, high = (Bet.objects.get(pk=bet["bet_id"]) for bet in ids)
    assert (low.status, high.status) == ("confirmed", "confirmed")
    writer.told.clear()
    return Table(player, low, high)


def decided(column_start: int, **changes: Any) -> DecideColumn:
    """A column whose path stayed inside the low cell."""
    fields: dict[str, Any] = {
        "column_start": column_start,
        "state": "settled",
        "reason": "",
        "open_cents": OWN + 3,
        "low_cents": OWN + 2,
        "high_cents": OWN + 999,
        "close_cents": OWN + 4,
        "ticks": 51,
        "max_gap_ms": 100,
        "sources": "test",
        "ticks_sha256": "ab" * 32,
        "evidence": b"evidence",
    }
    return DecideColumn(**(fields | changes))


def void(column_start: int, reason: str = "gap", **changes: Any) -> DecideColumn:
    nothing = dict.fromkeys(("open_cents", "low_cents", "high_cents", "close_cents"))
    return decided(column_start, state="void", reason=reason, **(nothing | changes))


def entries_of(bet: Bet) -> list[tuple[Any, ...]]:
    rows = LedgerEntry.objects.filter(reference=f"bet:{bet.pk}").exclude(kind="STAKE")
    return list(rows.values_list("kind", "debit_wallet", "credit_wallet", "amount_micros"))


def resolved(bet: Bet) -> tuple[Any, ...]:
    bet.refresh_from_db()
    assert bet.resolved_at is not None
    return bet.status, bet.reason, bet.payout_micros, clock.to_us(bet.resolved_at), bet.cursor


def news(told: list[Told]) -> list[Event]:
    return [event for event in told if isinstance(event, Event)]


def test_decision_when_it_becomes_a_command_then_every_part_of_it() -> None:
    decision = ColumnDecision(
        column_start=1_764_000_000,
        state="settled",
        reason="because",
        open_cents=1,
        low_cents=2,
        high_cents=3,
        close_cents=4,
        ticks=5,
        max_gap_ms=6,
        sources="a,b",
        ticks_sha256="cd" * 32,
        evidence="1764000000000 1\n",
    )
    command = decide_command(decision)
    told = {name: getattr(command, name) for name in command.__struct_fields__}
    told["evidence"] = inflate_evidence(told["evidence"])
    assert told == asdict(decision)


def test_decision_when_stored_then_every_part_of_it_and_its_time(
    writer: InProcessLink, now: ManualClock
) -> None:
    command = decided(1_763_999_900, reason="because")
    assert writer.call(command) == Done(1_763_999_900)
    stored = Settlement.objects.get()
    for name in command.__struct_fields__:
        assert getattr(stored, name) == getattr(command, name), name
    assert clock.to_us(stored.decided_at) == now.us


def test_decision_when_the_column_has_one_then_named_and_left_as_it_is(
    writer: InProcessLink, table: Table
) -> None:
    first = decided(table.column_start)
    assert writer.run([first, void(table.column_start)]) == [Done(table.column_start)] * 2
    assert writer.call(void(table.column_start)) == Done(table.column_start)
    assert Settlement.objects.get().state == "settled"


def test_settle_when_the_column_is_undecided_then_not_found_and_nothing_paid(
    writer: InProcessLink, table: Table
) -> None:
    refusal = writer.call(SettleBets(table.column_start))
    assert refusal == Refusal("not_found", {"column_start": table.column_start})
    assert entries_of(table.low) == entries_of(table.high) == []


@pytest.mark.parametrize("at_once", [True, False])
def test_settle_when_one_cell_is_touched_then_it_is_paid_and_the_other_lost(
    writer: InProcessLink, table: Table, now: ManualClock, at_once: bool
) -> None:
    """By a decision of the same batch, and by a stored one."""
    before = Wallet.objects.get(pk=table.player.pk).cursor
    commands = [decided(table.column_start), SettleBets(table.column_start)]
    outcomes = writer.run(commands) if at_once else [writer.call(c) for c in commands]
    assert outcomes == [Done(table.column_start), Settled(2)]
    assert table.low.rate_bps is not None
    won = payout_micros(STAKE, table.low.rate_bps)
    assert won > STAKE
    assert resolved(table.low) == ("won", "", won, now.us, before + 1)
    assert resolved(table.high) == ("lost", "", 0, now.us, before + 2)
    assert entries_of(table.low) == [("PAYOUT", HOUSE, table.player.pk, won)]
    assert entries_of(table.high) == []
    player, house = Wallet.objects.get(pk=table.player.pk), Wallet.objects.get(pk=HOUSE)
    assert (player.balance_micros, player.open_stake_micros) == (90 * USDC + won, 0)
    assert player.cursor == before + 2
    assert house.balance_micros == 10_000_010 * USDC - won


@pytest.mark.parametrize(
    ("low_cents", "high_cents", "low_status", "high_status"),
    [
        (OWN + 999, OWN + 999, "won", "lost"),
        (OWN + 1_000, OWN + 1_000, "lost", "won"),  # a band ends before its high edge
        (OWN + 999, OWN + 1_000, "won", "won"),
        (OWN - 1, OWN - 1, "lost", "lost"),
    ],
)
def test_settle_when_the_path_ends_at_an_edge_then_by_the_half_open_band(
    writer: InProcessLink,
    table: Table,
    low_cents: int,
    high_cents: int,
    low_status: str,
    high_status: str,
) -> None:
    path = decided(table.column_start, low_cents=low_cents, high_cents=high_cents)
    writer.run([path, SettleBets(table.column_start)])
    assert (resolved(table.low)[0], resolved(table.high)[0]) == (low_status, high_status)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("range_cents", [(None, None), (OWN, None), (None, OWN)])
def test_settle_when_the_column_has_no_whole_range_then_refunded_with_its_reason(
    writer: InProcessLink,
    table: Table,
    now: ManualClock,
    at_once: bool,
    range_cents: tuple[int | None, int | None],
) -> None:
    low_cents, high_cents = range_cents
    decision = void(table.column_start, "no_ticks", low_cents=low_cents, high_cents=high_cents)
    commands = [decision, SettleBets(table.column_start)]
    assert (writer.run(commands) if at_once else [writer.call(c) for c in commands])[1] == (
        Settled(2)
    )
    for bet in (table.low, table.high):
        assert resolved(bet)[:4] == ("void", "no_ticks", STAKE, now.us)
        assert entries_of(bet) == [("REFUND", HOUSE, table.player.pk, STAKE)]
    assert Wallet.objects.get(pk=table.player.pk).balance_micros == 100 * USDC


@pytest.mark.parametrize("decide", [decided, void])
def test_settle_when_committed_then_each_bet_is_told_as_it_is_stored_and_the_exposure_last(
    writer: InProcessLink, table: Table, decide: Any
) -> None:
    writer.run([decide(table.column_start), SettleBets(table.column_start)])
    *events, notice = writer.told
    balance = 90 * USDC
    for event, bet in zip(news(events), (table.low, table.high), strict=True):
        bet.refresh_from_db()
        balance += bet.payout_micros or 0
        assert (event.wallet_id, event.name) == (table.player.pk, "bet.resolved")
        assert (event.cursor, event.balance_micros) == (bet.cursor, balance)
        assert BetFacts(*event.data).json() == bet_json(bet)
    assert isinstance(notice, Notice)
    assert notice.kind == EXPOSURE_KIND
    exposure = msgspec.msgpack.decode(notice.payload, type=ExposureState)
    house = Wallet.objects.get(pk=HOUSE).balance_micros
    assert exposure == ExposureState(house, [])


def test_settle_when_committed_then_counted_and_journaled_once(
    writer: InProcessLink,
    table: Table,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[tuple[str, int, int]] = []
    monkeypatch.setattr(counts, "resolved", counted.extend)
    with caplog.at_level(logging.INFO, "journal"):
        writer.run([decided(table.column_start), SettleBets(table.column_start)])
        writer.call(SettleBets(table.column_start))
    table.low.refresh_from_db()
    won = table.low.payout_micros or 0
    assert counted == [("won", STAKE, won), ("lost", STAKE, 0)]
    (line,) = [said for said in caplog.records if said.getMessage() == "bets resolved"]
    assert vars(line)["bets"] == [f"{table.low.pk} won {won}", f"{table.high.pk} lost 0"]


def test_settle_when_the_batch_cannot_be_committed_then_nothing_told_and_nothing_paid(
    writer: InProcessLink, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(_: object) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("wallet.book.Book.persist", disk_full)
        patched.setattr(counts, "resolved", lambda bets: pytest.fail("counted"))
        writer.run([decided(table.column_start), SettleBets(table.column_start)])
    assert writer.told == []
    assert entries_of(table.low) == []
    assert not Settlement.objects.exists()


def test_settle_when_nothing_is_left_then_nothing_told(writer: InProcessLink, table: Table) -> None:
    writer.run([void(table.column_start), SettleBets(table.column_start)])
    writer.told.clear()
    assert writer.call(SettleBets(table.column_start)) == Settled(0)
    assert writer.told == []


def test_settle_when_told_how_many_then_so_many_of_the_oldest(
    writer: InProcessLink, table: Table
) -> None:
    writer.call(void(table.column_start))
    assert writer.call(SettleBets(table.column_start, 1)) == Settled(1)
    assert (resolved(table.low)[0], Bet.objects.get(pk=table.high.pk).status) == (
        "void",
        "confirmed",
    )
    assert Wallet.objects.get(pk=table.player.pk).open_stake_micros == STAKE


def test_settle_when_two_columns_share_a_batch_then_each_by_its_own_decision(
    writer: InProcessLink, table: Table, feed_board: Board, now: ManualClock
) -> None:
    other = table.column_start + 5
    cell = place_command(table.player, column_start=other, low_cents=OWN, high_cents=OWN + 1_000)
    bet = Bet.objects.get(pk=accepted(writer.call(cell))["bet_id"])
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    commands = [
        *(decided(table.column_start), void(other)),
        *(SettleBets(other), SettleBets(table.column_start)),
    ]
    assert writer.run(commands)[2:] == [Settled(1), Settled(2)]
    statuses = [resolved(each)[0] for each in (table.low, table.high, bet)]
    assert statuses == ["won", "lost", "void"]


def test_settle_when_a_bet_was_resolved_by_another_hand_then_the_batch_breaks(
    writer: InProcessLink, table: Table, now: ManualClock
) -> None:
    writer.call(decided(table.column_start))
    settle = SettleBets(table.column_start)
    work = SettlementWork([settle])
    with connection.cursor() as cursor:
        work.prefetch(Book(cursor, IdMint(), now.us))
        assert work.decide(settle) == Settled(2)
        Bet.objects.filter(pk=table.high.pk).update(status="void")
        with pytest.raises(Broken) as broken:
            work.persist()
    assert str(broken.value) == "a bet was resolved outside the writer"


# Which columns a worker looks at

END = 1_764_000_000  # the current column at the tests' first instant


def tick_at(now: ManualClock, board: Board, at_s: float) -> None:
    before = now.us
    now.us = round(at_s * clock.US_PER_S)
    factories.tick(board)
    now.us = before


def test_closed_columns_when_there_was_never_a_tick_then_none(writer: InProcessLink) -> None:
    assert closed_columns(END * clock.US_PER_S) == []


def test_closed_columns_when_prices_have_just_begun_then_from_the_first_ticks_column(
    writer: InProcessLink, feed_board: Board, now: ManualClock
) -> None:
    tick_at(now, feed_board, END - 12)
    tick_at(now, feed_board, END - 3)
    assert closed_columns(END * clock.US_PER_S) == [END - 15, END - 10, END - 5]
    assert closed_columns(END * clock.US_PER_S - 1) == [END - 15, END - 10]


def test_closed_columns_when_prices_are_old_then_those_within_twice_the_patience(
    writer: InProcessLink, feed_board: Board, now: ManualClock
) -> None:
    tick_at(now, feed_board, END - 3_600)
    back_s = 2 * LIMITS.recording_patience_ms // 1_000
    assert closed_columns(END * clock.US_PER_S) == list(range(END - back_s, END, LIMITS.column_s))


def test_closed_columns_when_some_are_decided_then_without_them(
    writer: InProcessLink, feed_board: Board, now: ManualClock
) -> None:
    tick_at(now, feed_board, END - 20)
    writer.run([decided(END - 20), void(END - 10), decided(END - 5_000)])
    assert closed_columns(END * clock.US_PER_S) == [END - 15, END - 5]


def test_closed_columns_when_bets_are_open_then_theirs_too_however_old_or_decided(
    writer: InProcessLink, table: Table
) -> None:
    column = table.column_start
    writer.call(decided(column))
    late_us = (column + 3_600) * clock.US_PER_S
    assert column_of(late_us) == column + 3_600
    back_s = 2 * LIMITS.recording_patience_ms // 1_000
    recent = list(range(column + 3_600 - back_s, column + 3_600, LIMITS.column_s))
    assert closed_columns(late_us) == [column, *recent]
    writer.call(SettleBets(column))
    assert closed_columns(late_us) == recent


def test_closed_columns_when_a_bets_column_is_not_over_then_without_it(
    writer: InProcessLink, table: Table
) -> None:
    end_us = (table.column_start + LIMITS.column_s) * clock.US_PER_S
    assert table.column_start not in closed_columns(end_us - 1)
    assert table.column_start in closed_columns(end_us)


def test_closed_columns_when_several_hold_open_bets_then_each_once_in_order(
    writer: InProcessLink, table: Table, feed_board: Board, now: ManualClock
) -> None:
    columns = [table.column_start + 5 * number for number in (0, 2, 1)]
    for column in columns[1:]:
        accepted(writer.call(place_command(table.player, column_start=column)))
    late_us = (table.column_start + 86_400) * clock.US_PER_S
    assert closed_columns(late_us)[:3] == sorted(columns)


def test_overdue_when_recordings_had_their_time_then_the_columns_that_hold_open_bets(
    writer: InProcessLink, table: Table
) -> None:
    later = table.column_start + 2 * LIMITS.column_s
    accepted(writer.call(place_command(table.player, column_start=later)))
    patient_us = LIMITS.recording_patience_ms * clock.US_PER_MS
    due_us = (table.column_start + LIMITS.column_s) * clock.US_PER_S + patient_us
    assert overdue(due_us - 1) == []
    assert overdue(due_us) == [table.column_start]
    assert overdue(due_us + 2 * LIMITS.column_s * clock.US_PER_S) == [table.column_start, later]

    writer.run([void(table.column_start), SettleBets(table.column_start)])
    assert overdue(due_us) == []


def test_lag_when_no_bets_are_open_then_none(writer: InProcessLink, table: Table) -> None:
    late_us = (table.column_start + 86_400) * clock.US_PER_S
    writer.run([void(table.column_start), SettleBets(table.column_start)])
    assert lag_s(late_us) == 0.0


def test_lag_when_bets_are_open_then_since_the_oldest_column_closed(
    writer: InProcessLink, table: Table
) -> None:
    accepted(
        writer.call(place_command(table.player, column_start=table.column_start + LIMITS.column_s))
    )
    closed_us = (table.column_start + LIMITS.column_s) * clock.US_PER_S
    assert lag_s(closed_us - 1) == lag_s(closed_us) == 0.0
    assert lag_s(closed_us + 2_500_000) == 2.5
