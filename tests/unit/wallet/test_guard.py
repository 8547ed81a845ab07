"""A player's own limits: worked examples, and what holds whatever is done in whatever order."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taptrading import clock
from taptrading.limits import LIMITS
from wallet.guard import AMOUNTS, LOSS_DAY, LOSS_WEEK, STAKE, US_PER_DAY, Guard, Limit
from wallet.ids import IdMint

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
USDC = 1_000_000
HOUR_US = 3_600 * clock.US_PER_S
WAIT_US = LIMITS.player_raise_wait_s * clock.US_PER_S
# Wednesday 2026-11-25, 00:00 UTC.
MIDNIGHT_US = 1_795_564_800 * clock.US_PER_S
NOON_US = MIDNIGHT_US + 12 * HOUR_US


def limits(**micros: int | None) -> Guard:
    made = Guard(1)
    for name, value in micros.items():
        made.set_limit(name, Limit(value))
    return made


def why(found: Guard, stake_micros: int, now_us: int = NOON_US) -> dict[str, Any] | None:
    refusal = found.refusal(stake_micros, now_us)
    assert refusal is None or refusal.code == "player_limit"
    return refusal.detail if refusal else None


# A limit and its raise.


def test_limit_when_less_is_asked_for_then_it_holds_at_once() -> None:
    assert Limit().asked(50, NOON_US) == Limit(50)
    assert Limit(50).asked(20, NOON_US) == Limit(20)
    assert Limit(50).asked(0, NOON_US) == Limit(0)


@pytest.mark.parametrize("more", [51, None])
def test_limit_when_more_is_asked_for_then_it_holds_a_day_later_to_the_microsecond(
    more: int | None,
) -> None:
    raised = Limit(50).asked(more, NOON_US)

    assert raised == Limit(50, more, NOON_US + WAIT_US)
    assert raised.at(NOON_US + WAIT_US - 1).micros == 50
    assert raised.at(NOON_US + WAIT_US) == Limit(more)


def test_raise_when_it_is_asked_for_again_then_its_wait_does_not_begin_anew() -> None:
    raised = Limit(50).asked(100, NOON_US)

    assert raised.asked(100, NOON_US + HOUR_US) == raised
    assert raised.asked(70, NOON_US + HOUR_US) == Limit(50, 70, NOON_US + WAIT_US)
    assert raised.asked(101, NOON_US + HOUR_US) == Limit(50, 101, NOON_US + HOUR_US + WAIT_US)


@pytest.mark.parametrize("asked", [50, 40])
def test_raise_when_what_holds_or_less_is_asked_for_then_it_is_off(asked: int) -> None:
    assert Limit(50).asked(100, NOON_US).asked(asked, NOON_US + HOUR_US) == Limit(asked)


@UNHURRIED
@given(
    st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 9)), min_size=1, max_size=12)
)
def test_limit_whatever_is_asked_for_then_it_never_rises_within_a_day(
    asks: list[tuple[int, int | None]],
) -> None:
    def size(micros: int | None) -> float:
        return float("inf") if micros is None else micros

    limit, now_us = Limit(), NOON_US
    asked: list[tuple[int, float]] = []
    held = size(None)
    for hours, micros in asks:
        now_us += hours * HOUR_US
        holds = size(limit.at(now_us).micros)
        if holds > held:
            assert any(at <= now_us - WAIT_US and most >= holds for at, most in asked)
        assert not asked or holds <= asked[-1][1]
        limit = limit.asked(micros, now_us)
        asked.append((now_us, size(micros)))
        held = size(limit.at(now_us).micros)
        assert held <= holds


# What a guard refuses.


def test_bet_when_its_stake_is_the_largest_allowed_then_taken_and_not_a_micro_more() -> None:
    found = limits(stake_max_micros=5 * USDC)

    assert why(found, 5 * USDC) is None
    assert why(found, 5 * USDC + 1) == {"limit": STAKE, "limit_micros": 5 * USDC}


def test_bets_of_a_day_when_they_are_won_lost_and_void_then_the_room_is_what_is_left() -> None:
    found, ids = limits(loss_day_max_micros=20 * USDC), IdMint()
    bets = [ids.next(NOON_US) for _ in range(4)]

    for bet in bets[:3]:
        found.count(bet, 5 * USDC)
    assert found.lost_micros(LOSS_DAY, NOON_US) == 15 * USDC  # open bets count as lost
    assert why(found, 5 * USDC) is None
    found.count(bets[3], 5 * USDC)
    assert why(found, 1) == {
        "limit": LOSS_DAY,
        "limit_micros": 20 * USDC,
        "room_micros": 0,
        "until": "2026-11-26T00:00:00.000Z",
    }
    found.count(bets[0], -5 * USDC)  # void
    assert found.lost_micros(LOSS_DAY, NOON_US) == 15 * USDC
    found.count(bets[1], -12 * USDC)  # won
    assert found.lost_micros(LOSS_DAY, NOON_US) == 3 * USDC
    assert why(found, 17 * USDC) is None
    assert why(found, 17 * USDC + 1) is not None


def test_day_when_it_is_over_then_the_next_begins_with_nothing_lost_and_gets_none_of_its_wins() -> (
    None
):
    found, ids = limits(loss_day_max_micros=10 * USDC), IdMint()
    late = ids.next(MIDNIGHT_US - 1_000)

    found.count(late, 10 * USDC)
    assert why(found, 1, MIDNIGHT_US - 1) is not None
    assert why(found, 10 * USDC, MIDNIGHT_US) is None
    found.count(ids.next(MIDNIGHT_US), 4 * USDC)
    found.count(late, -100 * USDC)  # yesterday's bet is paid today

    assert found.lost_micros(LOSS_DAY, MIDNIGHT_US) == 4 * USDC
    assert found.lost_micros(LOSS_WEEK, MIDNIGHT_US) == (10 + 4 - 100) * USDC


def test_week_when_monday_comes_then_it_begins_anew() -> None:
    found = limits(loss_week_max_micros=10 * USDC)
    monday_us = MIDNIGHT_US + 5 * US_PER_DAY

    found.count(IdMint().next(NOON_US), 10 * USDC)

    detail = why(found, 1, monday_us - 1)
    assert detail is not None
    assert detail["until"] == "2026-11-30T00:00:00.000Z"
    assert why(found, 10 * USDC, monday_us) is None


@pytest.mark.parametrize("name", ["cool_off_until", "excluded_until"])
def test_bet_when_the_player_stays_away_then_refused_until_that_very_instant(name: str) -> None:
    found = Guard(1)
    setattr(found, name, NOON_US)

    assert why(found, 1, NOON_US - 1) == {"limit": name, "until": "2026-11-25T12:00:00.000Z"}
    assert why(found, 1, NOON_US) is None


def test_bet_when_all_stands_against_it_then_exclusion_is_told_first() -> None:
    found = limits(stake_max_micros=0, loss_day_max_micros=0, loss_week_max_micros=0)
    found.cool_off_until = found.excluded_until = NOON_US + 1
    told = []
    for undo in ("excluded_until", "cool_off_until", *AMOUNTS):
        detail = why(found, 1)
        assert detail is not None
        told.append(detail["limit"])
        if undo in AMOUNTS:
            found.set_limit(undo, Limit())
        else:
            setattr(found, undo, None)

    assert told == ["excluded_until", "cool_off_until", *AMOUNTS]
    assert why(found, 1) is None


_DEED = st.one_of(
    st.tuples(st.just("bet"), st.integers(1, 40)),
    st.tuples(st.just("end"), st.integers(0, 99), st.integers(0, 60)),
    st.tuples(st.just("wait"), st.integers(0, 40)),
    st.tuples(
        st.just("ask"), st.sampled_from([LOSS_DAY, LOSS_WEEK]), st.none() | st.integers(0, 80)
    ),
)


@UNHURRIED
@given(st.lists(_DEED, max_size=60))
def test_losses_whatever_happens_in_whatever_order_then_they_never_pass_a_limit(
    deeds: list[tuple[Any, ...]],
) -> None:
    """Against the books kept another way: every bet on its own, summed up each time."""
    found, ids, now_us = Guard(1), IdMint(), NOON_US
    bets: list[list[int]] = []  # accepted at, stake, paid; the open ones paid nothing yet
    unpaid: list[tuple[int, list[int]]] = []

    def lost(since_us: int) -> int:
        return sum(stake - paid for at_us, stake, paid in bets if at_us >= since_us)

    def monday_us() -> int:
        weekday = (now_us - MIDNIGHT_US) // US_PER_DAY + 2  # that midnight began a Wednesday
        return MIDNIGHT_US + ((now_us - MIDNIGHT_US) // US_PER_DAY - weekday % 7) * US_PER_DAY

    for kind, *deed in deeds:
        if kind == "wait":
            now_us += deed[0] * HOUR_US
        elif kind == "ask":
            found.set_limit(deed[0], found.limit(deed[0]).asked(deed[1], now_us))
        elif kind == "end" and unpaid:
            bet_id, bet = unpaid.pop(deed[0] % len(unpaid))
            if deed[1]:
                bet[2] = deed[1]
                found.count(bet_id, -deed[1])
        elif kind == "bet" and found.refusal(deed[0], now_us) is None:
            bet_id = ids.next(now_us)
            found.count(bet_id, deed[0])
            bets.append([now_us, deed[0], 0])
            unpaid.append((bet_id, bets[-1]))
            for name, since_us in (
                (LOSS_DAY, now_us // US_PER_DAY * US_PER_DAY),
                (LOSS_WEEK, monday_us()),
            ):
                most = found.limit(name).at(now_us).micros
                assert most is None or lost(since_us) <= most
        today_us = now_us // US_PER_DAY * US_PER_DAY
        assert found.lost_micros(LOSS_DAY, now_us) == lost(today_us)
        assert found.lost_micros(LOSS_WEEK, now_us) == lost(monday_us())
