"""What players set for themselves, at the writer: bets refused, losses counted, money free."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bets.placing import PlaceBet, PlaceOutcome
from bets.settlement import DecideColumn, SettleBets
from ops.models import AuditEntry
from pricefeed.board import Board
from taptrading import clock
from taptrading.errors import Refusal
from tests import factories
from tests.factories import USDC, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet.keys import AuthorizeKey
from wallet.models import PlayerLimits, Wallet
from wallet.player_limits import SetPlayerLimits
from wallet.protocol import Done
from wallet.transfers import CustodyReport, RequestWithdrawal

DAY_S = 86_400


@pytest.fixture
def player(writer: InProcessLink, feed_board: Board) -> Wallet:
    factories.funded_house(writer)
    factories.tick(feed_board)
    return factories.funded_wallet(writer, usdc=1_000)


def wants(writer: InProcessLink, player: Wallet, **wanted: int | None) -> Any:
    return writer.call(SetPlayerLimits(player.pk, wanted))


def side_by_side(player: Wallet, count: int, **changes: Any) -> list[PlaceBet]:
    """Bets on neighbouring bands of one column."""
    first = place_command(player, **changes)
    return [
        place_command(
            player,
            low_cents=first.low_cents + 1_000 * n,
            high_cents=first.high_cents + 1_000 * n,
            **changes,
        )
        for n in range(count)
    ]


def codes(outcomes: list[Any]) -> list[str | None]:
    assert all(isinstance(outcome, PlaceOutcome) for outcome in outcomes)
    return [outcome.refusal.code if outcome.refusal else None for outcome in outcomes]


def refused_for(outcome: Any) -> str:
    assert outcome.refusal.code == "player_limit", outcome
    return str(outcome.refusal.detail["limit"])


def price(writer: InProcessLink, now: ManualClock, board: Board, **changes: Any) -> None:
    now.us += 400_000
    factories.tick(board, **changes)
    writer.run_due()


@pytest.mark.parametrize("at_once", [True, False])
def test_bets_when_they_come_side_by_side_then_their_stakes_never_pass_the_loss_limit(
    writer: InProcessLink, player: Wallet, at_once: bool
) -> None:
    wants(writer, player, loss_day_max_micros=12 * USDC)
    bets = side_by_side(player, 4)

    outcomes = writer.run(bets) if at_once else [writer.call(bet) for bet in bets]

    assert codes(outcomes) == [None, None, "player_limit", "player_limit"]
    assert outcomes[2].refusal.detail["room_micros"] == 2 * USDC
    row = PlayerLimits.objects.get()
    assert (row.lost_in_day_micros, row.lost_in_week_micros) == (10 * USDC, 10 * USDC)


def test_limits_when_they_come_in_the_same_batch_as_bets_then_they_hold_for_those_already(
    writer: InProcessLink, player: Wallet
) -> None:
    lower = SetPlayerLimits(player.pk, {"loss_day_max_micros": 5 * USDC})

    outcomes = writer.run([*side_by_side(player, 2), lower])

    assert codes(outcomes[:2]) == [None, "player_limit"]
    assert PlayerLimits.objects.get().lost_in_day_micros == 5 * USDC


def test_limit_when_it_is_set_after_bets_then_what_they_lost_today_counts(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    assert codes(writer.run(side_by_side(player, 3))) == [None] * 3
    price(writer, now, feed_board)

    wants(writer, player, loss_week_max_micros=15 * USDC)

    assert refused_for(
        writer.call(place_command(player, low_cents=9_480_000, high_cents=9_481_000))
    ) == ("loss_week_max_micros")


def test_stake_when_pricing_gives_it_back_then_it_is_not_lost(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    wants(writer, player, loss_day_max_micros=5 * USDC)
    bet = place_command(player, min_rate_bps=10**9)
    assert codes([writer.call(bet)]) == [None]
    assert refused_for(
        writer.call(place_command(player, low_cents=9_499_000, high_cents=9_500_000))
    )

    price(writer, now, feed_board)  # rate_moved

    assert PlayerLimits.objects.get().lost_in_day_micros == 0
    assert codes([writer.call(place_command(player))]) == [None]


@pytest.mark.parametrize(("path", "left_usdc"), [("won", None), ("lost", 10), ("void", 0)], ids=str)
def test_bet_when_it_ends_then_its_loss_is_what_it_cost(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    path: str,
    left_usdc: int | None,
) -> None:
    wants(writer, player, loss_day_max_micros=50 * USDC)
    bet = place_command(player, stake_micros=10 * USDC)
    outcome = writer.call(bet)
    price(writer, now, feed_board)
    span = {
        "won": (bet.low_cents, bet.high_cents),
        "lost": (bet.high_cents + 5_000, bet.high_cents + 6_000),
        "void": (None, None),
    }[path]
    before = Wallet.objects.get(pk=player.pk).balance_micros

    writer.run([_decision(bet.column_start, *span)])
    writer.run([SettleBets(bet.column_start)])

    assert codes([outcome]) == [None]
    paid = Wallet.objects.get(pk=player.pk).balance_micros - before
    row = PlayerLimits.objects.get()
    assert row.lost_in_day_micros == 10 * USDC - paid
    if left_usdc is None:
        assert paid > 10 * USDC
    else:
        assert row.lost_in_day_micros == left_usdc * USDC


def _decision(column_start: int, low: int | None, high: int | None) -> DecideColumn:
    return DecideColumn(
        column_start=column_start,
        state="void" if low is None else "settled",
        reason="gap" if low is None else "",
        open_cents=low,
        low_cents=low,
        high_cents=high,
        close_cents=high,
        ticks=2,
        max_gap_ms=100,
        sources="test",
        ticks_sha256="",
        evidence=b"",
    )


def test_raise_when_a_day_has_passed_then_it_holds_without_anybody_doing_anything(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    wants(writer, player, stake_max_micros=4 * USDC)
    wants(writer, player, stake_max_micros=5 * USDC)
    assert refused_for(writer.call(place_command(player))) == "stake_max_micros"

    now.us += DAY_S * clock.US_PER_S - 1
    factories.tick(feed_board)
    assert refused_for(writer.call(place_command(player))) == "stake_max_micros"
    now.us += 1

    assert codes([writer.call(place_command(player))]) == [None]


@pytest.mark.parametrize("name", ["cool_off_until", "excluded_until"])
def test_player_when_away_then_no_bet_is_taken_by_key_or_dry_run_and_money_stays_free(
    writer: InProcessLink, player: Wallet, name: str
) -> None:
    key = _key_of(writer, player)
    away_s = 200 * DAY_S if name == "excluded_until" else DAY_S
    wants(writer, player, **{name: clock.now_us() + away_s * clock.US_PER_S})

    for bet in (
        place_command(player),
        place_command(player, key_id=key),
        place_command(player, dry_run=True),
    ):
        assert refused_for(writer.call(bet)) == name
    withdrawn = writer.call(_withdrawal(player, 1_000 * USDC))

    assert isinstance(withdrawn, Done)
    player.refresh_from_db()
    assert (player.balance_micros, player.held_micros) == (0, 1_000 * USDC)


def test_money_when_it_comes_and_goes_then_it_is_no_loss_and_no_win(
    writer: InProcessLink, player: Wallet
) -> None:
    wants(writer, player, loss_day_max_micros=5 * USDC)
    assert codes([writer.call(place_command(player))]) == [None]
    assert player.address is not None

    report = CustodyReport("event-7", "deposit.confirmed", "", player.address, 50 * USDC)
    writer.call(report)
    writer.call(_withdrawal(player, 30 * USDC))

    player.refresh_from_db()
    assert (player.balance_micros, player.held_micros) == (1_015 * USDC, 30 * USDC)
    row = PlayerLimits.objects.get()
    assert (row.lost_in_day_micros, row.lost_in_week_micros) == (5 * USDC, 5 * USDC)


def _key_of(writer: InProcessLink, player: Wallet) -> int:
    done = writer.call(
        AuthorizeKey(
            wallet_id=player.pk,
            key=factories.address(),
            label="phone",
            max_stake_micros=10 * USDC,
            max_total_micros=100 * USDC,
            expires_at_us=clock.now_us() + 60 * clock.US_PER_S,
            nonce="0" * 32,
            timestamp=clock.now_s(),
            signature=bytes(65),
        )
    )
    return int(done.id)


def _withdrawal(player: Wallet, micros: int) -> RequestWithdrawal:
    to = str(player.address)
    return RequestWithdrawal(player.pk, micros, to, uuid.uuid4().hex, clock.now_s(), bytes(65))


def test_bet_when_more_stands_against_it_then_its_place_is_after_the_room_and_before_the_cell(
    writer: InProcessLink, player: Wallet
) -> None:
    taken = place_command(player)
    assert codes([writer.call(taken)]) == [None]
    wants(writer, player, stake_max_micros=USDC)
    no_room = Refusal("limit_reached", {"room_micros": 0})

    full, again, poor = writer.run(
        [
            place_command(player, verdict=no_room),
            place_command(player),
            place_command(player, stake_micros=5_000 * USDC),
        ]
    )

    assert codes([full, again, poor]) == ["limit_reached", "player_limit", "player_limit"]


def test_exclusion_when_it_stands_then_it_can_be_made_longer_and_never_shorter(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    until = clock.now_us() + 200 * DAY_S * clock.US_PER_S
    assert isinstance(wants(writer, player, excluded_until=until), Done)

    for sooner in (None, until - 1_000, now.us - 1, 0):
        refusal = wants(writer, player, excluded_until=sooner, stake_max_micros=1)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "forbidden"
    assert isinstance(wants(writer, player, excluded_until=until), Done)
    row = PlayerLimits.objects.get()
    assert (row.excluded_until, row.stake_micros) == (clock.from_us(until), None)

    assert isinstance(wants(writer, player, excluded_until=until + DAY_S), Done)
    now.us = until + 2 * DAY_S
    assert isinstance(wants(writer, player, excluded_until=None), Done)


@pytest.mark.parametrize(
    ("name", "after_s"),
    [
        ("cool_off_until", 0),
        ("cool_off_until", 42 * DAY_S + 1),
        ("excluded_until", 180 * DAY_S - 1),
        ("excluded_until", 11 * 366 * DAY_S),
    ],
)
def test_time_away_when_it_is_too_short_or_too_long_then_refused_and_nothing_is_kept(
    writer: InProcessLink, player: Wallet, name: str, after_s: int
) -> None:
    asked = clock.now_us() + after_s * clock.US_PER_S

    refusal = wants(writer, player, **{name: asked, "stake_max_micros": USDC})

    assert refusal.code == "invalid_request"
    assert not PlayerLimits.objects.exists()


def test_limits_when_they_change_then_the_audit_log_says_from_what_to_what_and_once(
    writer: InProcessLink, player: Wallet
) -> None:
    wants(writer, player, stake_max_micros=None)  # as it is
    wants(writer, player, stake_max_micros=5 * USDC)
    wants(writer, player, stake_max_micros=9 * USDC)
    wants(writer, player, stake_max_micros=9 * USDC)  # once more

    notes = AuditEntry.objects.filter(action="player_limits.changed").order_by("pk")
    assert [(note.actor, note.subject) for note in notes] == [(f"wallet:{player.pk}",) * 2] * 2
    assert [note.before for note in notes] == [
        {"stake_max_micros": None},
        {"stake_max_micros_next": None},
    ]
    assert notes[0].after == {"stake_max_micros": 5 * USDC}
    assert notes[1].after["stake_max_micros_next"]["micros"] == 9 * USDC


def test_wallet_when_it_sets_nothing_or_is_none_then_it_has_no_row(
    writer: InProcessLink, player: Wallet
) -> None:
    assert isinstance(wants(writer, player), Done)
    assert writer.call(SetPlayerLimits(12_345, {"stake_max_micros": 1})).code == "not_found"
    assert writer.call(SetPlayerLimits(3, {"stake_max_micros": 1})).code == "not_found"

    assert not PlayerLimits.objects.exists()
    assert not Wallet.objects.filter(guarded=True).exists()


def test_batch_when_no_wallet_has_limits_then_nobody_looks_for_any(
    writer: InProcessLink, player: Wallet
) -> None:
    other = factories.funded_wallet(writer)
    assert codes(writer.run(side_by_side(player, 1))) == [None]
    queries = _tables_asked(writer, side_by_side(player, 2)[1:])
    assert not any("wallet_playerlimits" in sql for sql in queries)

    wants(writer, other, stake_max_micros=100 * USDC)

    queries = _tables_asked(writer, side_by_side(player, 4)[2:] + side_by_side(other, 3))
    asked = [sql for sql in queries if "wallet_playerlimits" in sql and "SELECT" in sql[:7]]
    assert len(asked) == 1


def _tables_asked(writer: InProcessLink, bets: list[PlaceBet]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert codes(writer.run(bets)) == [None] * len(bets)
    return [query["sql"] for query in captured.captured_queries]
