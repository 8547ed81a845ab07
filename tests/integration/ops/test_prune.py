"""Pruning: what is past its time goes, what an undecided bet needs stays."""

import hashlib
from datetime import timedelta

import pytest

from bets.models import Bet
from ops import tasks
from pricefeed.board import Board
from pricefeed.models import Tick
from taptrading import clock
from taptrading.limits import LIMITS
from tests import factories, fakes
from wallet.models import TraderSession, Wallet

DAY_US = 86_400 * clock.US_PER_S


def record_ticks(*ages_us: int) -> None:
    """Recorded ticks of these ages, oldest first."""
    Tick.objects.bulk_create(
        Tick(
            seq=seq,
            at=clock.from_us(clock.now_us() - age_us),
            price_cents=factories.PRICE_CENTS,
            sigma_ppm=0,
            overshoot_e12=0,
            sources="test",
            recorded_at=clock.now(),
        )
        for seq, age_us in enumerate(ages_us, start=1)
    )


def sign_in(wallet: Wallet, token: str, ends_in: timedelta) -> None:
    TraderSession.objects.create(
        token_sha256=hashlib.sha256(token.encode()).digest(),
        wallet=wallet,
        created_at=clock.now(),
        expires_at=clock.now() + ends_in,
    )


@pytest.mark.usefixtures("db", "now")
def test_prune_when_ticks_are_past_their_retention_then_only_those_go() -> None:
    retained_us = LIMITS.tick_retention_s * clock.US_PER_S
    record_ticks(retained_us + DAY_US, retained_us + 1, retained_us, 0)

    removed = tasks.prune()

    assert removed["ticks"] == 2
    assert list(Tick.objects.order_by("seq").values_list("seq", flat=True)) == [3, 4]


@pytest.mark.usefixtures("db", "now")
def test_prune_when_more_rows_than_a_batch_then_goes_on_until_none_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_BATCH_ROWS", 2)
    record_ticks(*(9 * DAY_US - number for number in range(5)), 0)

    assert tasks.prune()["ticks"] == 5
    assert tasks.prune()["ticks"] == 0


@pytest.mark.usefixtures("db", "now")
def test_prune_when_all_ticks_are_old_then_the_newest_stays_for_the_numbering() -> None:
    record_ticks(30 * DAY_US, 29 * DAY_US)

    assert tasks.prune()["ticks"] == 1
    assert Tick.objects.get().seq == 2


def test_prune_when_a_bet_is_undecided_then_the_ticks_of_its_column_stay(
    writer: fakes.InProcessLink, feed_board: Board, now: fakes.ManualClock
) -> None:
    factories.funded_house(writer)
    player = factories.funded_wallet(writer)
    factories.tick(feed_board)
    factories.accepted(writer.call(factories.place_command(player)))
    now.advance(30 * 86_400)
    factories.tick(feed_board)

    assert tasks.prune()["ticks"] == 0
    Bet.objects.update(status=Bet.Status.VOID, resolved_at=clock.now())
    assert tasks.prune()["ticks"] == 1


def test_prune_when_a_sign_in_has_ended_then_only_that_one_goes(
    writer: fakes.InProcessLink,
) -> None:
    player = factories.funded_wallet(writer)
    sign_in(player, "ended", timedelta(seconds=-1))
    sign_in(player, "lives", timedelta(seconds=1))

    assert tasks.prune()["trader_sessions"] == 1
    (left,) = TraderSession.objects.all()
    assert bytes(left.token_sha256) == hashlib.sha256(b"lives").digest()
