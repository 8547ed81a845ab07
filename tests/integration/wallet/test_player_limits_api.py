"""A trader's own limits over HTTP: set, read, raised, and what may not be undone."""

import json
from typing import Any

import pytest

from taptrading import clock
from tests.fakes import ManualClock
from tests.integration.wallet.conftest import USDC, Trader
from wallet.models import PlayerLimits

PATH = "player-limits"
HOUR_US = 3_600 * clock.US_PER_S
# The tests' clock stands still at Monday 2025-11-24, 16:00 UTC.
NOTHING: dict[str, Any] = {
    "stake_max_micros": None,
    "loss_day_max_micros": None,
    "loss_week_max_micros": None,
    "pending": [],
    "loss_day_micros": None,
    "loss_week_micros": None,
    "day_ends_at": "2025-11-25T00:00:00.000Z",
    "week_ends_at": "2025-12-01T00:00:00.000Z",
    "cool_off_until": None,
    "excluded_until": None,
}


def in_hours(hours: float) -> str:
    return clock.iso_ms(clock.now_us() + int(hours * HOUR_US))


def refused(reply: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = reply.json()
    assert (reply.status_code, body["error"]) == (status, code), body
    return body


def test_limits_when_none_was_set_then_there_are_none(trader: Trader) -> None:
    assert trader.get(PATH).json() == NOTHING
    assert trader.put(PATH, {"stake_max_micros": None}).json() == NOTHING


def test_limits_when_nobody_is_signed_in_then_unauthenticated(stranger: Trader) -> None:
    refused(stranger.get(PATH), 401, "unauthenticated")
    refused(stranger.put(PATH, {"stake_max_micros": 1}), 401, "unauthenticated")


def test_limits_when_they_are_lowered_and_raised_then_the_raise_waits_a_day(
    trader: Trader, now: ManualClock
) -> None:
    wanted = {"stake_max_micros": 5 * USDC, "loss_day_max_micros": 20 * USDC}
    found = trader.put(PATH, wanted)
    assert found.status_code == 200
    assert found.json() == NOTHING | wanted | {"loss_day_micros": 0, "loss_week_micros": 0}

    at = in_hours(24)
    pending = [
        {"limit": "stake_max_micros", "micros": 10 * USDC, "effective_at": at},
        {"limit": "loss_day_max_micros", "micros": None, "effective_at": at},
    ]
    raised = {"stake_max_micros": 10 * USDC, "loss_day_max_micros": None}
    assert trader.put(PATH, raised).json()["pending"] == pending
    now.us += 23 * HOUR_US
    assert trader.put(PATH, raised).json()["pending"] == pending  # once more: nothing changes
    trader.sign_in()
    assert trader.get(PATH).json()["stake_max_micros"] == 5 * USDC
    now.us += HOUR_US

    after = trader.sign_in().get(PATH).json()
    assert (after["stake_max_micros"], after["loss_day_max_micros"]) == (10 * USDC, None)
    assert after["pending"] == []


@pytest.mark.parametrize(
    ("name", "hours"), [("cool_off_until", 24.0), ("excluded_until", 200 * 24.0)]
)
def test_time_away_when_it_stands_then_it_cannot_end_early_and_withdrawals_and_sign_in_stay(
    trader: Trader, name: str, hours: float
) -> None:
    trader.deposit(10)
    until = in_hours(hours)
    assert trader.put(PATH, {name: until}).json()[name] == until

    for sooner in (None, in_hours(hours - 1), in_hours(-1)):
        detail = refused(trader.put(PATH, {name: sooner}), 403, "forbidden")["detail"]
        assert detail == {"field": name, "until": until}

    assert trader.put(PATH, {name: until}).status_code == 200
    later = in_hours(hours + 1)
    assert trader.put(PATH, {name: later}).json()[name] == later
    assert trader.sign_in().post("withdrawals", trader.withdrawal(10 * USDC)).status_code == 202


def test_time_away_when_it_has_another_offset_or_microseconds_then_it_is_told_in_utc_to_the_ms(
    trader: Trader,
) -> None:
    reply = trader.put(PATH, {"cool_off_until": "2025-11-25T18:00:00.123456+01:00"})

    assert reply.json()["cool_off_until"] == "2025-11-25T17:00:00.123Z"
    assert trader.put(PATH, {"cool_off_until": "2025-11-25T17:00:00.123Z"}).status_code == 200


AMOUNTS = [-1, 1.0, 1e6, "5", True, [], {}, 2**63]
TIMES = [0, 5.0, "", "soon", "2025-11-25", "2025-11-25T17:00:00", True, [], "9" * 400]
BAD = [
    *(
        {name: value}
        for name in ("stake_max_micros", "loss_day_max_micros", "loss_week_max_micros")
        for value in AMOUNTS
    ),
    *({name: value} for name in ("cool_off_until", "excluded_until") for value in TIMES),
    {"pending": []},
    {"stake_max_usdc": 1},
    {"cool_off_until": "2025-11-24T15:00:00Z"},  # past
    {"cool_off_until": "2026-03-24T15:00:00Z"},  # too long
    {"excluded_until": "2025-11-26T15:00:00Z"},  # too short
    {"excluded_until": "2125-11-26T15:00:00Z"},  # too long
]


def test_put_when_the_body_is_bad_then_invalid_request_and_nothing_is_kept(trader: Trader) -> None:
    bodies = [json.dumps({"stake_max_micros": 1} | bad) for bad in BAD]
    twice = '{"stake_max_micros": 1, "stake_max_micros": 2}'
    for body in (*bodies, twice, "{}", "[]", "null", "", "{", b"\xff"):
        reply = trader.put(PATH, body)
        assert reply.status_code == 400, (body, reply.content)
        refused(reply, 400, "invalid_request")

    assert not PlayerLimits.objects.exists()
    refused(trader.put(PATH, b"{" + b" " * 16 * 1024), 413, "too_large")
    refused(trader.post(PATH, {}), 405, "method_not_allowed")
