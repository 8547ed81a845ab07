"""What traders set against themselves: limits on stakes, and staying away."""

from playwright.sync_api import expect

from tests.browser.test_access import violations
from tests.browser.trader import PATIENCE_MS, Trader


def test_own_limit_when_it_is_set_then_larger_taps_are_refused_and_a_raise_waits(
    trader: Trader,
) -> None:
    trader.get_play_money()
    trader.open_tab("settings")
    trader.see("#limit-stake").fill("1")
    trader.see("text=Save limits").click()
    trader.hears("Your limits hold from now on.")

    trader.choose_stake(5)
    trader.wait_for_offers()
    trader.taps_until_told("You allow yourself $1.00 a bet.")
    trader.wait_for_state("refused")
    assert trader.balance_micros() == 1_000_000_000
    trader.choose_stake(1)
    trader.wait_for_offers()
    trader.bet()

    trader.see("#limit-stake").fill("")
    trader.see("text=Save limits").click()
    trader.hears("What is higher holds after 24 hours.")
    expect(trader.see("#limit-stake")).to_have_value("1")
    expect(trader.see("#limit-stake-note")).to_contain_text("Lifted from")
    trader.see("#limit-day").fill("much")
    trader.see("text=Save limits").click()
    trader.hears("Most lost a day, USDC: an amount, please")
    assert violations(trader) == []


def test_trader_when_it_takes_a_break_by_keyboard_then_no_tap_is_taken_but_money_goes_out(
    trader: Trader,
) -> None:
    trader.get_play_money()
    trader.open_tab("settings")
    trader.see("#excluded-until-ask").click()
    expect(trader.see("#dialog-title")).to_have_text("Exclude yourself for 6 months")
    expect(trader.see("#away-go")).to_be_disabled()
    trader.page.keyboard.press("Escape")

    trader.see("#cool-off-until-ask").focus()
    trader.page.keyboard.press("Enter")
    expect(trader.see("#sure")).to_be_focused()
    assert violations(trader) == []
    trader.page.keyboard.press("Space")
    trader.page.keyboard.press("Tab")
    trader.page.keyboard.press("Enter")

    expect(trader.see("#spoken")).to_contain_text("You are taking a break until")
    expect(trader.see("#banner")).to_contain_text("You are taking a break until")
    trader.wait_for_offers()
    trader.tap_until_state("refused")
    trader.page.reload()
    expect(trader.see("#banner")).to_contain_text("taking a break", timeout=PATIENCE_MS)
    trader.open_tab("money")
    trader.see("#amount").fill("1000")
    trader.see("#panel-money").get_by_role("button", name="Withdraw").click()
    trader.hears("Withdrawal of $1,000.00")
    assert violations(trader) == []
