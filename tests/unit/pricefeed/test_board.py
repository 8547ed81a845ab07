"""What this process believes about the price, at every age of it."""

import pytest

from pricefeed.board import Board, FeedState, TickRecord, decode, encode

AT_MS = 1_764_000_000_000


def tick(at_ms: int = AT_MS, seq: int = 7) -> TickRecord:
    return TickRecord(seq, at_ms, 9_500_123, 600_000, 12_345, "binance,kraken")


def told(breaker: str = "closed", override: str = "auto", reason: str = "") -> Board:
    board = Board()
    board.apply(FeedState(tick(), breaker, override, reason))
    return board


def test_read_board_when_nothing_was_published_then_open() -> None:
    board = Board()
    assert board.breaker(AT_MS) == "open"
    assert board.age_ms(AT_MS) is None
    assert board.price_json(AT_MS) is None
    refusal = board.refusal(AT_MS)
    assert refusal is not None
    assert refusal.code == "breaker_open"


@pytest.mark.parametrize(
    ("age_ms", "breaker", "code"),
    [
        (0, "closed", None),
        (1_000, "closed", None),
        (1_001, "closed", "price_stale"),
        (3_000, "closed", "price_stale"),
        (3_001, "degraded", "price_stale"),
        (10_000, "degraded", "price_stale"),
        (10_001, "open", "breaker_open"),
    ],
)
def test_judge_board_when_the_feed_fell_silent_then_age_speaks(
    age_ms: int, breaker: str, code: str | None
) -> None:
    board = told()
    refusal = board.refusal(AT_MS + age_ms)
    assert board.breaker(AT_MS + age_ms) == breaker
    assert (refusal.code if refusal else None) == code


@pytest.mark.parametrize(
    ("ahead_ms", "code"), [(0, None), (249, None), (250, "price_stale"), (60_000, "price_stale")]
)
def test_judge_board_when_the_clock_was_set_back_then_no_bet_on_a_price_that_was_seen(
    ahead_ms: int, code: str | None
) -> None:
    refusal = told().refusal(AT_MS - ahead_ms)
    assert (refusal.code if refusal else None) == code


def test_judge_board_when_published_open_then_a_fresh_tick_does_not_close_it() -> None:
    assert told("open").breaker(AT_MS) == "open"


def test_judge_board_when_overridden_closed_then_an_old_index_still_opens() -> None:
    board = told("closed", "close", "operator")
    assert board.breaker(AT_MS + 10_001) == "open"


def test_apply_state_when_older_than_held_then_ignored() -> None:
    board = told()
    board.apply(FeedState(tick(AT_MS - 100, 6), "open", "auto", ""))
    assert board.tick == tick()
    assert board.published == "closed"


def test_apply_state_when_taken_then_listeners_hear_it() -> None:
    board, heard = Board(), list[FeedState]()
    board.listeners.append(heard.append)
    state = FeedState(tick(), "closed", "auto", "")
    board.receive(encode(state))
    assert heard == [state]
    assert decode(encode(state)) == state


def test_render_board_when_told_then_the_contract_s_fields() -> None:
    board = told("open", "open", "maintenance")
    assert board.price_json(AT_MS + 42) == {
        "price_cents": 9_500_123,
        "at": "2025-11-24T16:00:00.000Z",
        "seq": 7,
        "age_ms": 42,
    }
    assert board.status_json((AT_MS + 42) * 1_000) == {
        "breaker": "open",
        "override": "open",
        "reason": "maintenance",
        "price_age_ms": 42,
        "server_time": "2025-11-24T16:00:00.042Z",
    }
