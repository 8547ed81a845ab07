"""Session keys and stakes: each cap alone, at the very bound."""

from typing import Any

import pytest

from bets.placing import PlaceOutcome
from pricefeed.board import Board
from taptrading import clock
from tests import factories
from tests.factories import USDC, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet.keys import AuthorizeKey
from wallet.models import SessionKey, Wallet

EXPIRES_S = 60


@pytest.fixture
def player(writer: InProcessLink, feed_board: Board) -> Wallet:
    factories.funded_house(writer)
    factories.tick(feed_board)
    return factories.funded_wallet(writer, usdc=1_000)


def key_of(writer: InProcessLink, player: Wallet, stake_usdc: int, total_usdc: int) -> int:
    done = writer.call(
        AuthorizeKey(
            wallet_id=player.pk,
            key=factories.address(),
            label="phone",
            max_stake_micros=stake_usdc * USDC,
            max_total_micros=total_usdc * USDC,
            expires_at_us=clock.now_us() + EXPIRES_S * clock.US_PER_S,
            nonce="0" * 32,
            timestamp=clock.now_s(),
            signature=bytes(65),
        )
    )
    return int(done.id)


def code(outcome: Any) -> str | None:
    assert isinstance(outcome, PlaceOutcome)
    return outcome.refusal.code if outcome.refusal else None


@pytest.mark.parametrize(("more", "expected"), [(0, None), (1, "session_key_invalid")])
def test_stake_when_all_that_the_key_may_at_once_then_accepted_and_not_a_micro_more(
    writer: InProcessLink, player: Wallet, more: int, expected: str | None
) -> None:
    key = key_of(writer, player, 10, 1_000)
    assert code(writer.call(place_command(player, key_id=key, stake_micros=10 * USDC + more))) == (
        expected
    )


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("more", "expected"), [(0, None), (1, "session_key_invalid")])
def test_stakes_when_they_come_to_the_keys_total_then_accepted_and_not_a_micro_more(
    writer: InProcessLink, player: Wallet, at_once: bool, more: int, expected: str | None
) -> None:
    key = key_of(writer, player, 10, 15)
    column = place_command(player).column_start
    bets = [
        place_command(player, key_id=key, column_start=column + 5 * number, stake_micros=stake)
        for number, stake in enumerate([10 * USDC, 5 * USDC + more])
    ]
    outcomes = writer.run(bets) if at_once else [writer.call(bet) for bet in bets]
    assert [code(outcome) for outcome in outcomes] == [None, expected]
    assert SessionKey.objects.get().used_micros == (10 if more else 15) * USDC


def test_key_when_there_is_none_of_that_id_then_invalid(
    writer: InProcessLink, player: Wallet
) -> None:
    assert code(writer.call(place_command(player, key_id=12_345))) == "session_key_invalid"


@pytest.mark.parametrize(("early_us", "expected"), [(1, None), (0, "session_key_invalid")])
def test_key_when_it_expires_at_this_instant_then_it_has_expired(
    writer: InProcessLink,
    player: Wallet,
    now: ManualClock,
    feed_board: Board,
    early_us: int,
    expected: str | None,
) -> None:
    key = key_of(writer, player, 10, 15)
    now.us += EXPIRES_S * clock.US_PER_S - early_us
    factories.tick(feed_board)
    assert code(writer.call(place_command(player, key_id=key))) == expected
