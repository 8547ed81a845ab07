"""For everybody: phones, keyboards, screen readers, both lights; and how much there is to load."""

import itertools
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import DESK
from tests.browser.trader import PATIENCE_MS, Trader
from tests.stack import ROOT, Stack

AXE = ROOT / "taptrading" / "web" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
FIRST_LOAD_BYTES = 150_000


def violations(trader: Trader) -> list[str]:
    # Evaluated by the driver, so that the page's content policy need not allow it.
    trader.page.evaluate(Path(AXE).read_text())
    found = trader.page.evaluate(
        "(rules) => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
    )
    return [
        f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("light", ["dark", "light"])
def test_page_when_it_is_checked_by_axe_then_nothing_is_found(
    chromium: Browser, platform: Stack, light: str
) -> None:
    with Trader.visiting(chromium, platform.url, viewport=DESK, color_scheme=light) as trader:
        assert violations(trader) == []
        trader.get_play_money()
        trader.bet()
        for tab in ("money", "keys", "settings", "bets"):
            trader.open_tab(tab)
            assert violations(trader) == [], tab
        trader.see("button.bet").first.click()
        expect(trader.see("dialog")).to_be_visible()
        assert violations(trader) == []


def test_trader_when_there_is_only_a_keyboard_then_it_can_bet_and_read_what_came_of_it(
    trader: Trader,
) -> None:
    trader.wait_for_offers()
    trader.page.keyboard.press("Tab")
    for _ in range(20):
        if trader.page.evaluate("document.activeElement?.id") == "play":
            break
        trader.page.keyboard.press("Tab")
    trader.page.keyboard.press("Enter")
    expect(trader.see("#balance")).to_have_text("$1,000.00", timeout=PATIENCE_MS)

    for _ in range(20):
        trader.page.keyboard.press("Shift+Tab")
        if trader.page.evaluate("document.activeElement?.id") == "chart":
            break
    trader.wait_for_offers()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp"):
        trader.page.keyboard.press(key)
    for tries in range(1, 6):  # a rate may move further than is allowed
        expect(trader.see("#spoken")).to_contain_text("Enter stakes $5")
        trader.page.keyboard.press("Enter")
        trader.wait_for_state("confirmed", "won", "lost", "rejected", "refused", at_least=tries)
        if trader.bets()[-1]["state"] not in ("rejected", "refused"):
            break
        trader.page.keyboard.press("ArrowRight")
    expect(trader.see("#spoken")).to_contain_text("confirmed at", timeout=PATIENCE_MS)


def test_trader_when_it_is_on_a_phone_then_cells_are_wide_enough_and_nothing_is_cut_off(
    phone: Trader,
) -> None:
    phone.get_play_money()

    phone.bet(lambda spot: phone.page.touchscreen.tap(spot.x, spot.y))

    columns = sorted({cell["x"] for cell in phone.look()["cells"]})
    assert min(b - a for a, b in itertools.pairwise(columns)) >= 40
    assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    phone.see('[role="tab"][data-tab="bets"]').click()
    expect(phone.see("#bets li")).to_have_count(len(phone.bets()))
    assert violations(phone) == []


def test_page_when_it_is_loaded_first_then_it_is_light_and_all_of_it_is_ours(
    chromium: Browser, platform: Stack
) -> None:
    sizes: dict[str, int] = {}
    with Trader.visiting(
        chromium,
        platform.url,
        lambda page: page.on(
            "requestfinished",
            lambda request: sizes.update({request.url: request.sizes()["responseBodySize"]}),
        ),
        viewport=DESK,
    ) as trader:
        trader.wait_for_offers()
        trader.page.wait_for_load_state("networkidle")

    assert len(sizes) > 10
    assert sum(sizes.values()) < FIRST_LOAD_BYTES, sizes


def test_page_when_it_is_opened_then_it_draws_the_minute_before_too(trader: Trader) -> None:
    trader.wait_for_offers()
    opened_ms = trader.look()["now"]

    trader.wait_until("(opened) => tapTrading.look().since < opened - 5_000", opened_ms)


def test_page_when_motion_is_unwelcome_then_it_still_follows_the_price(
    chromium: Browser, platform: Stack
) -> None:
    with Trader.visiting(chromium, platform.url, viewport=DESK, reduced_motion="reduce") as trader:
        trader.get_play_money()
        trader.bet()
