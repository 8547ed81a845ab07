"""What a follower of bets is shown, from bets that the real writer made."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bets import snapshot as snapshot_module
from bets.models import Bet
from bets.snapshot import snapshot
from pricefeed.board import Board
from taptrading import clock
from taptrading.limits import LIMITS
from tests import factories
from tests.factories import USDC
from tests.fakes import InProcessLink, ManualClock
from wallet.models import Wallet


@pytest.fixture
def trader(writer: InProcessLink, feed_board: Board) -> Wallet:
    factories.funded_house(writer)
    factories.tick(feed_board)
    return factories.funded_wallet(writer)


@pytest.fixture
def place(writer: InProcessLink, trader: Wallet) -> Callable[..., dict[str, Any]]:
    return lambda **changes: factories.accepted(
        writer.call(factories.place_command(trader, **changes))
    )


def ids(bets: list[dict[str, Any]]) -> list[str]:
    return [bet["bet_id"] for bet in bets]


def later_columns(count: int) -> list[int]:
    first = clock.now_s() // 5 * 5 + 15
    return [first + 5 * number for number in range(count)]


def test_snapshot_when_nothing_was_bet_has_only_balance_and_cursor(trader: Wallet) -> None:
    trader.refresh_from_db()
    assert snapshot(trader.pk, None) == {
        "balance_micros": 1_000 * USDC,
        "open": [],
        "missed": [],
        "cursor": trader.cursor,
    }


def test_snapshot_when_bets_are_open_lists_the_newest_first(
    trader: Wallet, place: Callable[..., dict[str, Any]]
) -> None:
    bets = [place(column_start=column) for column in later_columns(3)]
    found = snapshot(trader.pk, None)
    assert ids(found["open"]) == ids(bets[::-1])
    assert found["balance_micros"] == 985 * USDC
    assert found["open"][0] == bets[2]


def test_snapshot_when_a_bet_was_decided_since_the_cursor_lists_it_as_missed(
    trader: Wallet,
    place: Callable[..., dict[str, Any]],
    writer: InProcessLink,
    now: ManualClock,
) -> None:
    bet = place()
    before = snapshot(trader.pk, None)
    now.advance(3)  # no tick within 2 s: rejected
    writer.run_due()

    after = snapshot(trader.pk, before["cursor"])
    assert (after["open"], ids(after["missed"])) == ([], [bet["bet_id"]])
    assert after["missed"][0]["status"] == "rejected"
    assert after["balance_micros"] == 1_000 * USDC
    assert after["cursor"] > before["cursor"]
    assert snapshot(trader.pk, after["cursor"])["missed"] == []
    assert snapshot(trader.pk, None)["missed"] == []


def test_snapshot_when_a_bet_is_long_undecided_still_lists_it(
    trader: Wallet, place: Callable[..., dict[str, Any]], now: ManualClock
) -> None:
    old = place()
    now.advance(3_600)  # the worker is down
    assert ids(snapshot(trader.pk, None)["open"]) == [old["bet_id"]]


def test_snapshot_when_the_wallet_changes_meanwhile_reads_again(
    trader: Wallet,
    place: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = later_columns(2)
    place(column_start=first)
    read_open = snapshot_module._open
    late: list[dict[str, Any]] = []

    def interrupted(*arguments: Any) -> list[Bet]:
        found = read_open(*arguments)
        if not late:
            late.append(place(column_start=second))
        return found

    monkeypatch.setattr(snapshot_module, "_open", interrupted)
    found = snapshot(trader.pk, None)
    assert len(found["open"]) == 2
    trader.refresh_from_db()
    assert (found["cursor"], found["balance_micros"]) == (trader.cursor, trader.balance_micros)


def test_snapshot_when_the_history_is_long_is_bounded(
    trader: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "LIMITS", type(LIMITS)(snapshot_bets=2))
    house = Wallet.objects.get(kind="house")
    Bet.objects.bulk_create(
        Bet(
            id=number, wallet=trader, house=house, column_start=number * 5, low_cents=0,
            high_cents=1_000, stake_micros=1, min_rate_bps=1, nonce=uuid.uuid4(), timestamp=0,
            signature=b"", status="lost", cursor=number + 10, accepted_at=clock.now(),
        )
        for number in range(1, 6)
    )  # fmt: skip
    assert ids(snapshot(trader.pk, 1)["missed"]) == ["5", "4"]


def test_snapshot_when_bets_are_recent_finds_them_by_their_ids(
    trader: Wallet, place: Callable[..., dict[str, Any]]
) -> None:
    place()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        snapshot(trader.pk, None)
    (asked,) = [q["sql"] for q in queries if 'FROM "bets_bet"' in q["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {asked}")
        plan = cursor.fetchall()
    assert "bet_wallet (wallet_id=? AND id>?)" in plan[0][3]
