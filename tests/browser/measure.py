"""`make bench-page`: what a trader waits for, in a Chromium without a GPU, beside its budget.

The clock is the wall's, the platform the real one with simulated prices, and the whole grid stands
on the screen while ten ticks a second come in.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

from tests import stack
from tests.browser.conftest import DESK, NAMES, found_chromium
from tests.browser.trader import Trader
from tests.stack import Stack

SEED: Final = "11"
VISITS: Final = 5
WATCHED_MS: Final = 20_000
TAPS: Final = 24
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu")

# When the first cells are on offer and the button for play money is there, on the page's own clock.
_INTERACTIVE: Final = """
    (function look() {
      const offered = globalThis.tapTrading?.look().cells.length;
      if (!offered || document.getElementById("play").hidden) requestAnimationFrame(look);
      else globalThis.interactiveMs = performance.now();
    })();
"""
_FRAMES_APART: Final = """
    () => new Promise((done) => {
      const apart = [];
      let before = performance.now();
      const next = (at) => {
        apart.push(at - before);
        before = at;
        if (apart.length < 600) requestAnimationFrame(next);
        else done(apart.slice(1));
      };
      requestAnimationFrame(next);
    })
"""


class Row(NamedTuple):
    what: str
    p50_ms: float
    p95_ms: float
    budget: str


def main() -> int:
    path = found_chromium()
    if path is None:
        print(f"none of {', '.join(NAMES)} is on this machine", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        stack.running(Path(folder), PRICE_SOURCES="simulated", SIMULATED_SEED=SEED) as running,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        rows = [_visits(browser, running), *_playing(browser, running)]
        browser.close()
    print(f"{'':34}{'p50 ms':>8}{'p95 ms':>8}   budget")
    for row in rows:
        print(f"{row.what:34}{row.p50_ms:8.1f}{row.p95_ms:8.1f}   {row.budget}")
    return 0


def _row(what: str, found: Sequence[float], budget: str) -> Row:
    found = sorted(found)
    return Row(what, found[len(found) // 2], found[int(len(found) * 0.95)], budget)


def _visits(browser: Browser, running: Stack) -> Row:
    """Each with nothing in its cache."""
    found: list[float] = []
    for _ in range(VISITS):
        with Trader.visiting(browser, running.url, _timed, viewport=DESK) as trader:
            trader.wait_until("() => globalThis.interactiveMs")
            found.append(trader.page.evaluate("interactiveMs"))
    return _row("first load to interactive", found, "< 1000")


def _timed(page: Page) -> None:
    page.add_init_script(_INTERACTIVE)


def _playing(browser: Browser, running: Stack) -> list[Row]:
    with Trader.visiting(browser, running.url, viewport=DESK) as trader:
        trader.get_play_money()
        trader.page.wait_for_timeout(WATCHED_MS)
        frames: list[float] = _timings(trader)["frames"]
        apart: list[float] = trader.page.evaluate(_FRAMES_APART)
        for spot in trader.spots()[:TAPS]:
            trader.tap(spot)
            trader.page.wait_for_timeout(130)  # below the limit of ten a second
        taps: list[float] = _timings(trader)["taps"]
        cells = len(trader.look()["cells"])
    return [
        _row(f"script and drawing, {cells} cells", frames, "p95 < 8"),
        _row("from frame to frame", apart, "16.7 is 60 a second"),
        _row(f"finger up to 'pending', {len(taps)} taps", taps, "< 50"),
    ]


def _timings(trader: Trader) -> dict[str, Any]:
    found: dict[str, Any] = trader.page.evaluate("tapTrading.timings()")
    return found


if __name__ == "__main__":
    sys.exit(main())
