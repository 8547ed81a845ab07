"""`make pictures`: the pictures of the page that the documentation shows.

Taken on a platform of its own, with simulated prices. Look at each before it is committed.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, TimeoutError, sync_playwright

from tests import stack
from tests.browser.conftest import DESK, NAMES, PHONE, found_chromium
from tests.browser.trader import Trader
from tests.stack import ROOT, Stack

PICTURES: Final = ROOT / "docs" / "images"
SEED: Final = "11"


def main() -> int:
    path = found_chromium()
    if path is None:
        print(f"none of {', '.join(NAMES)} is on this machine", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        stack.running(Path(folder), PRICE_SOURCES="simulated", SIMULATED_SEED=SEED) as running,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        _desk(browser, running)
        _phone(browser, running)
        browser.close()
    return 0


def _desk(browser: Browser, running: Stack) -> None:
    with Trader.visiting(browser, running.url, viewport=DESK, color_scheme="dark") as trader:
        trader.wait_for_offers()
        trader.page.wait_for_timeout(20_000)  # a path to look at
        _take(trader, "page-idle")
        trader.get_play_money()
        for spot in _near(trader):
            trader.tap(spot)
        _take(trader, "page-pending")
        _until_won(trader)
        trader.page.wait_for_timeout(300)
        _take(trader, "page-won")
        trader.see("button.bet.won").first.click()
        trader.see(".evidence svg").wait_for()
        _take(trader, "page-evidence")
        trader.see("#dialog-close").click()
        running.manage("breaker", "open", "--reason", "Checking a source.")
        trader.see("#banner").wait_for()
        _take(trader, "page-breaker-open")
        running.manage("breaker", "auto")


def _until_won(trader: Trader) -> None:
    """Tap on: some prices run away from all that was tapped."""
    for _ in range(6):
        try:
            trader.wait_for_state("won", ms=30_000)
        except TimeoutError:
            for spot in _near(trader):
                trader.tap(spot)
        else:
            return
    raise RuntimeError("nothing was won")


def _phone(browser: Browser, running: Stack) -> None:
    with Trader.visiting(
        browser,
        running.url,
        viewport=PHONE,
        device_scale_factor=2,
        has_touch=True,
        color_scheme="dark",
    ) as trader:
        trader.wait_for_offers()
        running.manage("breaker", "close", "--reason", "Checked.")
        trader.get_play_money()
        for spot in trader.spots()[:8:2]:
            trader.tap(spot)
            trader.page.wait_for_timeout(300)
        trader.wait_for_state("confirmed", at_least=3)
        trader.page.wait_for_timeout(5_500)  # past the toasts
        _take(trader, "page-phone")


def _near(trader: Trader) -> list[Any]:
    """Cells that are likely to be touched, a few columns of them."""
    found = sorted(trader.spots(), key=lambda spot: spot.rate)[:24:3]
    return found[:7]


def _take(trader: Trader, name: str) -> None:
    trader.page.screenshot(path=PICTURES / f"{name}.png")
    print(f"docs/images/{name}.png")


if __name__ == "__main__":
    sys.exit(main())
