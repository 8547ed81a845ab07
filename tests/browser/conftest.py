"""A real Chromium on a real platform. Whatever a test does, the page must raise no error, break no
rule of its content policy and load nothing from elsewhere."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import stack
from tests.browser.trader import Trader
from tests.stack import Stack

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
CLOCK_RATE: Final = 3.0
DESK: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 390, "height": 844}


def found_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = found_chromium()
    if path is None:
        missing = "no Chromium on this machine: apt-get install chromium"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Columns pass quicker than on a wall clock, so that nobody waits for them."""
    folder: Path = tmp_path_factory.mktemp("platform")
    with stack.running(folder, PRICE_SOURCES="simulated", SIMULATED_SEED="7") as running:
        running.clock_rate(CLOCK_RATE)
        yield running


@pytest.fixture
def trader(chromium: Browser, platform: Stack) -> Iterator[Trader]:
    with Trader.visiting(chromium, platform.url, viewport=DESK) as trader:
        yield trader


@pytest.fixture
def phone(chromium: Browser, platform: Stack) -> Iterator[Trader]:
    with Trader.visiting(
        chromium, platform.url, viewport=PHONE, has_touch=True, is_mobile=True
    ) as trader:
        yield trader
