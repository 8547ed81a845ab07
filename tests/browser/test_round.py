"""What a newcomer does first, and what can happen to a bet."""

import re

from playwright.sync_api import expect

from tests.browser.trader import MICROS, PATIENCE_MS, Trader
from tests.stack import Stack


def test_newcomer_when_it_taps_then_bet_is_pending_confirmed_resolved_and_balance_moves(
    trader: Trader,
) -> None:
    expect(trader.see("#welcome")).to_be_visible()
    trader.get_play_money()
    expect(trader.see("#welcome")).to_be_hidden()

    trader.remember_states()

    confirmed = trader.bet()

    assert trader.states_of(confirmed)[0] == "pending"
    assert confirmed["rate"] >= confirmed["minRate"]
    while (bet := trader.resolved(confirmed))["state"] == "void":  # the machine is too busy
        confirmed = trader.bet()
    assert trader.states_of(bet) == ["pending", "confirmed", bet["state"]]
    net = (bet["payout"] if bet["state"] == "won" else 0) - bet["stake"]
    expected = 1_000 * MICROS + net
    shown = f"${expected // MICROS:,}.{expected % MICROS // 10_000:02}"
    expect(trader.see("#balance")).to_have_text(shown, timeout=PATIENCE_MS)
    sign = "+" if bet["state"] == "won" else "−"
    expect(trader.see("#net")).to_have_text(re.compile(re.escape(sign)))

    trader.hears("Won on" if bet["state"] == "won" else "Lost $5.00 on")
    trader.see(f"button.bet.{bet['state']}").click()
    expect(trader.see(".evidence svg polyline")).to_be_visible(timeout=PATIENCE_MS)
    expect(trader.see(".evidence")).to_contain_text("SHA-256")


def test_tap_when_nobody_is_signed_in_then_it_stakes_nothing_and_says_why(trader: Trader) -> None:
    trader.wait_for_offers()

    trader.taps_until_told("Get play money or connect a wallet first.")

    expect(trader.see("#offer")).to_contain_text("pays $", timeout=PATIENCE_MS)
    assert trader.bets() == []


def test_bet_when_rate_falls_below_what_is_allowed_then_it_says_so_and_stake_returns(
    trader: Trader,
) -> None:
    trader.get_play_money()
    trader.open_tab("settings")
    trader.see("#slack").fill("0")
    for _ in range(12):
        trader.tap()

    trader.wait_until(
        "() => tapTrading.look().bets.some((bet) => bet.reason === 'rate_moved')",
    )
    moved = next(bet for bet in trader.bets() if bet["reason"] == "rate_moved")
    assert moved["state"] in ("rejected", "refused")
    trader.wait_until(
        "() => tapTrading.look().bets.every((bet) => bet.state !== 'pending')",
    )
    lost = sum(bet["stake"] for bet in trader.bets() if bet["state"] in ("confirmed", "lost"))
    balance = trader.balance_micros()
    won = sum(bet["payout"] for bet in trader.bets() if bet["state"] == "won")
    assert balance <= 1_000 * MICROS + won
    assert lost < 12 * 5 * MICROS


def test_cell_when_it_is_tapped_twice_then_second_tap_stakes_nothing(trader: Trader) -> None:
    trader.get_play_money()
    spot = trader.spots()[0]

    # In one task of the page: between two the chart moves on, and the first may be rejected.
    first, again = trader.page.evaluate(
        "([column, low]) => [tapTrading.tap(column, low), tapTrading.tap(column, low)]",
        [spot.column, spot.low],
    )

    assert first
    assert again == ""
    trader.hears("You already have a bet on that cell.")
    assert len(trader.bets()) == 1


def test_breaker_when_it_opens_then_nobody_bets_until_it_closes(
    trader: Trader, platform: Stack
) -> None:
    trader.get_play_money()
    platform.manage("breaker", "open", "--reason", "Trying the page.")
    try:
        expect(trader.see("#banner")).to_contain_text("Betting is paused.", timeout=PATIENCE_MS)
        expect(trader.see("#banner")).to_contain_text("Trying the page.")

        trader.page.evaluate("() => tapTrading.tap(5, 0)")

        trader.hears("Betting is paused.")
    finally:
        platform.manage("breaker", "close", "--reason", "Tried it.")
    expect(trader.see("#banner")).to_be_hidden(timeout=PATIENCE_MS)
    trader.wait_for_offers()
    trader.bet()
    platform.manage("breaker", "auto")
