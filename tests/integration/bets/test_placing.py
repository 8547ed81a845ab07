"""Placing through the writer: what is accepted, what is refused, and what stays behind."""

import msgspec
import pytest
from django.db import OperationalError

from bets.models import Bet
from bets.placing import PlaceBet, PlaceOutcome
from pricefeed.board import Board, FeedState
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from tests import factories
from tests.factories import USDC, accepted, place_command
from tests.fakes import FakeNonces, InProcessLink, ManualClock
from wallet.ids import HOUSE
from wallet.keys import AuthorizeKey, RevokeKey
from wallet.models import LedgerEntry, SessionKey, Wallet
from wallet.transfers import SetFrozen


@pytest.fixture
def player(writer: InProcessLink, feed_board: Board) -> Wallet:
    """A wallet with 100 USDC on a platform with a price."""
    factories.funded_house(writer)
    factories.tick(feed_board)
    return factories.funded_wallet(writer, usdc=100)


def code(outcome: PlaceOutcome | Refusal) -> str:
    refusal = outcome.refusal if isinstance(outcome, PlaceOutcome) else outcome
    assert refusal is not None
    return refusal.code


def test_accepted_bet_moves_its_stake_to_the_house(writer: InProcessLink, player: Wallet) -> None:
    outcome = writer.call(place_command(player))
    bet = accepted(outcome)
    player.refresh_from_db()
    assert (player.balance_micros, player.open_stake_micros) == (95 * USDC, 5 * USDC)
    assert outcome.balance_micros == 95 * USDC
    assert Wallet.objects.get(pk=HOUSE).balance_micros == 10_000_005 * USDC
    entry = LedgerEntry.objects.get(kind="STAKE")
    assert entry.reference == f"bet:{bet['bet_id']}"
    assert (bet["status"], bet["rate_bps"], bet["payout_micros"]) == ("accepted", None, None)


def test_two_bets_on_one_cell_in_one_batch_move_money_once(
    writer: InProcessLink, player: Wallet
) -> None:
    first, second = writer.run([place_command(player), place_command(player)])
    accepted(first)
    assert code(second) == "cell_taken"
    assert Bet.objects.count() == LedgerEntry.objects.filter(kind="STAKE").count() == 1
    player.refresh_from_db()
    assert player.balance_micros == 95 * USDC
    assert code(writer.call(place_command(player))) == "cell_taken"


def test_same_cell_for_another_wallet_is_accepted(writer: InProcessLink, player: Wallet) -> None:
    other = factories.funded_wallet(writer)
    for outcome in writer.run([place_command(player), place_command(other)]):
        accepted(outcome)


def test_stakes_of_one_batch_never_exceed_the_balance(
    writer: InProcessLink, player: Wallet
) -> None:
    column = place_command(player).column_start
    commands = [
        place_command(player, column_start=column + 5 * i, stake_micros=25 * USDC) for i in range(6)
    ]
    outcomes = writer.run(commands)
    assert [o.refusal is None for o in outcomes] == [True] * 4 + [False] * 2
    assert code(outcomes[4]) == "insufficient_funds"
    player.refresh_from_db()
    assert (player.balance_micros, player.open_stake_micros) == (0, 100 * USDC)


@pytest.mark.parametrize("same_batch", [True, False])
def test_same_nonce_is_answered_with_its_bet(
    writer: InProcessLink, player: Wallet, same_batch: bool
) -> None:
    command = place_command(player)
    first, second = (
        writer.run([command, command])
        if same_batch
        else [writer.call(command), writer.call(command)]
    )
    bet = accepted(first)
    assert code(second) == "nonce_reused"
    assert second.refusal.detail == {"bet": bet, "same_request": True}
    changed = PlaceBet(
        **{f: getattr(command, f) for f in command.__struct_fields__} | {"stake_micros": 10 * USDC}
    )
    other = writer.call(changed)
    assert other.refusal.detail == {"bet": bet, "same_request": False}
    assert Bet.objects.count() == 1


def test_used_nonce_is_answered_before_what_entry_has_against_the_cell(
    writer: InProcessLink, player: Wallet
) -> None:
    command = place_command(player)
    accepted(writer.call(command))
    again = place_command(player, nonce=command.nonce, verdict=Refusal("cell_off_grid"))
    assert code(writer.call(again)) == "nonce_reused"
    fresh = place_command(player, verdict=Refusal("cell_off_grid"))
    assert code(writer.call(fresh)) == "cell_off_grid"


def test_column_that_became_the_next_one_is_locked_as_the_writer_decides(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    command = place_command(player)
    now.us = (command.column_start - 5) * 1_000_000  # the very microsecond
    factories.tick(feed_board)
    command = place_command(player, column_start=command.column_start)
    assert code(writer.call(command)) == "cell_locked"
    assert Bet.objects.count() == 0


def test_bet_on_a_stale_price_is_refused_and_keeps_its_nonce(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board, nonces: FakeNonces
) -> None:
    command = place_command(player)
    now.advance(1.101)
    assert code(writer.call(command)) == "price_stale"
    assert nonces.given_back == [command]
    factories.tick(feed_board)
    accepted(writer.call(command))


def test_bet_while_the_breaker_is_open_is_refused_and_keeps_its_nonce(
    writer: InProcessLink, player: Wallet, feed_board: Board, nonces: FakeNonces
) -> None:
    command = place_command(player)
    feed_board.apply(FeedState(feed_board.tick, "open", "open", "maintenance"))
    assert code(writer.call(command)) == "breaker_open"
    assert nonces.given_back == [command]


def test_bet_without_redis_is_refused_and_can_be_sent_again(
    writer: InProcessLink, player: Wallet, nonces: FakeNonces
) -> None:
    command = place_command(player)
    nonces.away = True
    assert code(writer.call(command)) == "dependency_unavailable"
    nonces.away = False
    accepted(writer.call(command))


def test_final_refusal_is_remembered_with_its_nonce(
    writer: InProcessLink, player: Wallet, nonces: FakeNonces
) -> None:
    command = place_command(player, stake_micros=100 * USDC)
    poor = factories.funded_wallet(writer, usdc=1)
    command = place_command(poor)
    assert code(writer.call(command)) == "insufficient_funds"
    ((claim, refusal),) = nonces.refused
    assert (claim.nonce, refusal.code) == (command.nonce, "insufficient_funds")
    assert Bet.objects.count() == 0


def test_refused_request_that_comes_twice_in_one_batch_is_refused_twice(
    writer: InProcessLink, player: Wallet, nonces: FakeNonces
) -> None:
    """Entry in another process, or a tick later, may have nothing against it any more."""
    command = place_command(player)
    moved = msgspec.structs.replace(command, verdict=Refusal("rate_moved", {"rate_bps": 10_200}))
    other = msgspec.structs.replace(command, min_rate_bps=10_001)
    first, again = writer.run([moved, command])
    assert (code(first), code(again)) == ("rate_moved", "rate_moved")
    assert again.refusal.detail == {"rate_bps": 10_200, "repeated": True}
    assert Bet.objects.count() == 0
    ((_, remembered),) = nonces.refused
    assert remembered == first.refusal
    _, signed_anew = writer.run([moved, other])
    accepted(signed_anew)


def test_dry_run_claims_nothing(writer: InProcessLink, player: Wallet) -> None:
    command = place_command(player, dry_run=True)
    outcome = writer.call(command)
    assert (outcome.refusal, outcome.bet_id) == (None, 0)
    assert Bet.objects.count() == LedgerEntry.objects.filter(kind="STAKE").count() == 0
    accepted(writer.call(place_command(player)))
    assert code(writer.call(command)) == "cell_taken"


def test_frozen_unknown_and_late_are_refused_in_order(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    writer.call(SetFrozen(player.pk, True))
    assert code(writer.call(place_command(player))) == "wallet_frozen"
    late = place_command(player, timestamp=now.us // 1_000_000 - 31)
    assert code(writer.call(late)) == "timestamp_expired"
    early = place_command(player, timestamp=now.us // 1_000_000 + 6)
    assert code(writer.call(early)) == "timestamp_in_future"
    assert code(writer.call(place_command(player, wallet_id=12_345))) == "unknown_wallet"


def authorize(writer: InProcessLink, player: Wallet, **changes: int) -> SessionKey:
    fields = {
        "max_stake_micros": 10 * USDC,
        "max_total_micros": 12 * USDC,
        "expires_at_us": 1_764_000_060_000_000,
    } | changes
    done = writer.call(
        AuthorizeKey(
            wallet_id=player.pk,
            key=factories.address(),
            label="phone",
            nonce="0" * 32,
            timestamp=1_764_000_000,
            signature=bytes(65),
            **fields,
        )
    )
    return SessionKey.objects.get(pk=done.id)


def test_session_key_is_held_to_its_caps(writer: InProcessLink, player: Wallet) -> None:
    key = authorize(writer, player)
    column = place_command(player).column_start
    too_large = place_command(player, key_id=key.pk, stake_micros=25 * USDC)
    assert code(writer.call(too_large)) == "session_key_invalid"
    outcomes = writer.run(
        [place_command(player, key_id=key.pk, column_start=column + 5 * i) for i in range(3)]
    )
    assert [o.refusal is None for o in outcomes] == [True, True, False]
    key.refresh_from_db()
    assert key.used_micros == 10 * USDC


def test_session_key_is_useless_when_expired_revoked_or_anothers(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    key = authorize(writer, player)
    other = factories.funded_wallet(writer)
    assert code(writer.call(place_command(other, key_id=key.pk))) == "session_key_invalid"
    writer.call(RevokeKey(player.pk, key.pk))
    assert code(writer.call(place_command(player, key_id=key.pk))) == "session_key_invalid"
    live = authorize(writer, other)
    now.us = 1_764_000_060_000_000
    factories.tick(feed_board)
    assert code(writer.call(place_command(other, key_id=live.pk))) == "session_key_invalid"


def test_batch_whose_commit_fails_leaves_nothing_behind(
    writer: InProcessLink, player: Wallet, nonces: FakeNonces, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = place_command(player)

    def disk_full(_: object) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("wallet.book.Book.persist", disk_full)
        assert code(writer.call(command)) == "dependency_unavailable"
    assert nonces.given_back == [command]
    assert Bet.objects.count() == LedgerEntry.objects.filter(kind="STAKE").count() == 0
    accepted(writer.call(command))


def test_accepted_events_carry_growing_cursors(writer: InProcessLink, player: Wallet) -> None:
    column = place_command(player).column_start
    writer.told.clear()
    writer.run([place_command(player, column_start=column + 5 * i) for i in range(3)])
    assert [e.name for e in writer.told] == ["bet.accepted"] * 3
    cursors = [e.cursor for e in writer.told]
    assert cursors == list(range(cursors[0], cursors[0] + 3))
    player.refresh_from_db()
    assert player.cursor == cursors[-1]
    assert LIMITS.bet_burst == 20
