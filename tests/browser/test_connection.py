"""What the page does when the connection, or the server, is not what it should be."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.browser.conftest import DESK
from tests.browser.trader import PATIENCE_MS, Trader
from tests.stack import Stack

Routed = Callable[[Page], None]


def test_socket_when_it_is_cut_while_a_bet_is_pending_then_unknown_and_then_the_truth(
    chromium: Browser, platform: Stack
) -> None:
    cut: list[str | bytes] = []

    def between(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def passed_back(message: str | bytes) -> None:
            if not cut and str(json.loads(message).get("type")).startswith("bet."):
                cut.append(message)
                route.close(code=1011)  # instead of the answer
            else:
                route.send(message)

        server.on_message(passed_back)

    with Trader.visiting(
        chromium,
        platform.url,
        lambda page: page.route_web_socket("**/ws/v1", between),
        viewport=DESK,
    ) as trader:
        trader.get_play_money()
        trader.remember_states()

        trader.tap()
        while not cut:  # the tap came too late for its cell, or for this price
            trader.page.wait_for_timeout(3_000)
            if not cut:
                trader.tap()

        trader.wait_for_state("confirmed", "won", "lost", "rejected")
        assert any(trader.states_of(bet)[:2] == ["pending", "unknown"] for bet in trader.bets())
        trader.hears("finding out")


def hostile(*frames: Any) -> Routed:
    """A server that greets with these frames: texts as they are, others numbered and as JSON."""

    def between(route: WebSocketRoute) -> None:
        def answer(message: str | bytes) -> None:
            if json.loads(message).get("op") != "subscribe":
                return
            number = 0
            for frame in frames:
                if isinstance(frame, str):
                    route.send(frame)
                else:
                    number += 1
                    route.send(json.dumps({"seq": number, **frame}))

        route.on_message(answer)

    return lambda page: page.route_web_socket("**/ws/v1", between)


SCRIPT = '<img src=x onerror="window.ran = true"><script>window.ran = true</script>'
BET = {
    "bet_id": "1",
    "status": "confirmed",
    "cell_id": "1764000010_9500000_9501000",
    "stake_micros": 1_000_000,
    "min_rate_bps": 10_100,
    "rate_bps": 20_000,
    "potential_payout_micros": 2_000_000,
    "payout_micros": None,
    "nonce": "00000000-0000-4000-8000-000000000000",
    "accepted_at": "2025-11-24T16:00:00.000Z",
    "confirmed_at": None,
    "resolved_at": None,
    "reason": SCRIPT,
    "cursor": 1,
    "balance_micros": 1,
}
NONSENSE = [
    "not json",
    "null",
    "[]",
    '{"seq": 1}',
    "x" * 2_000_000,
    {"type": "price.tick", "data": None},
    {"type": "price.tick", "data": {"price_cents": "9", "at": {}, "seq": [], "age_ms": -1}},
    {"type": "price.tick", "data": {"price_cents": 1e300, "at": "never", "seq": 1, "age_ms": 0}},
    {"type": "grid.update", "data": {"column_starts": 5}},
    {
        "type": "grid.update",
        "data": {
            "quoted_at": "2025-11-24T16:00:00.000Z",
            "column_starts": [1] * 1_000,
            "lows_cents": [1],
            "rates_bps": [[1]],
            "room_micros": [[1]],
        },
    },
    {"type": "system.status", "data": {"breaker": SCRIPT, "reason": SCRIPT}},
    {"type": "system.status", "data": {"breaker": "open", "reason": SCRIPT}},
    {"type": "snapshot", "data": {"balance_micros": {}, "open": "x", "missed": 7, "cursor": None}},
    {
        "type": "snapshot",
        "data": {"balance_micros": 1, "open": [BET, SCRIPT, None], "missed": [], "cursor": 1},
    },
    {"type": "wallet.balance", "data": {"balance_micros": SCRIPT}},
    {"type": "bet.confirmed", "data": BET | {"stake_micros": -5}},
    {"type": "bet.resolved", "data": BET | {"status": SCRIPT}},
    {
        "type": "bet.rejected",
        "data": {"id": 1, "error": SCRIPT, "message": SCRIPT, "detail": SCRIPT},
    },
    {
        "type": "bet.rejected",
        "data": BET
        | {
            "nonce": "00000000-0000-4000-8000-000000000001",
            "status": "rejected",
            "reason": "constructor",
        },
    },
    {"type": "wallet.balance", "data": {"address": SCRIPT, "balance_micros": -1}},
    {"type": "__proto__", "data": {"constructor": {}}},
    {"type": "heartbeat", "data": {"server_time": SCRIPT}},
    {"type": "server.shutdown", "data": {"reconnect_after_ms": "soon"}},
]


@pytest.fixture
def deceived(chromium: Browser, platform: Stack) -> Iterator[Trader]:
    with Trader.visiting(chromium, platform.url, hostile(*NONSENSE), viewport=DESK) as trader:
        yield trader


def test_page_when_server_sends_nonsense_then_it_shows_text_runs_nothing_and_goes_on(
    deceived: Trader,
) -> None:
    deceived.hears("The bet was not taken. Your stake is back.")
    expect(deceived.see("#banner")).to_contain_text("The server is restarting", timeout=PATIENCE_MS)

    assert deceived.page.evaluate("window.ran") is None
    assert deceived.page.locator("#banner img, #bets img, #toasts img").count() == 0
    frames = deceived.page.evaluate("tapTrading.timings().frames.length")
    deceived.wait_until("(before) => tapTrading.timings().frames.length > before + 5", frames)
    assert [bet["state"] for bet in deceived.bets()] == ["confirmed", "rejected"]


def test_page_when_lists_hold_nonsense_then_they_show_text_and_run_nothing(
    chromium: Browser, platform: Stack
) -> None:
    def before(page: Page) -> None:
        entries = [
            {"kind": SCRIPT, "reference": SCRIPT, "amount_micros": 5, "created_at": SCRIPT},
            {"kind": 5, "amount_micros": "x"},
            None,
        ]
        answer = json.dumps({"results": entries, "next": "javascript:alert(1)"})
        page.route(
            "**/api/v1/ledger*",
            lambda route: route.fulfill(status=200, content_type="application/json", body=answer),
        )

    with Trader.visiting(chromium, platform.url, before, viewport=DESK) as trader:
        trader.get_play_money()
        trader.open_tab("money")

        expect(trader.see("#history .entry")).to_have_count(1, timeout=PATIENCE_MS)
        assert "<img" in trader.see("#history").inner_text()
        assert trader.page.evaluate("window.ran") is None
        assert trader.see("#history .more").count() == 0
