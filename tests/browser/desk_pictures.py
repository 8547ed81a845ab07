"""`python -m tests.browser.desk_pictures`: the picture of the operations page that the docs
show, on a platform of its own at work. Look at it before it is committed.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

from tests import stack
from tests.browser.conftest import NAMES, found_chromium
from tests.browser.pictures import PICTURES
from tests.outsider import USDC, Outsider
from tests.stack import Stack

PASSWORD: Final = "only for this picture"
STAFF: Final = f"""
from django.contrib.auth.models import Group, User
for name in ("ann", "ben"):
    user = User.objects.create_user(name, password="{PASSWORD}", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
"""
TRADERS: Final = 3
PATIENCE_MS: Final = 120_000
CHECKS: Final = ("ops.verify_ledger", "ops.backup", "ops.archive")


def main() -> int:
    path = found_chromium()
    if path is None:
        print(f"none of {', '.join(NAMES)} is on this machine", file=sys.stderr)
        return 1
    limits = {"TAP_BET_RATE_PER_S": "100", "TAP_BET_BURST": "200", "TAP_WARMUP_MS": "2000"}
    with (
        tempfile.TemporaryDirectory() as folder,
        stack.running(Path(folder), SIMULATED_SEED="11", **limits) as running,
        sync_playwright() as playwright,
    ):
        running.manage("shell", "-c", STAFF)
        for task in CHECKS:
            running.manage(
                "shell", "-c", f"from taptrading.celery import app; app.send_task('{task}')"
            )
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        errors: list[str] = []
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        _sign_in(page, running)
        _propose(page, running)
        trade(running)
        page.goto(f"{running.url}/admin/operations/")
        page.wait_for_timeout(4_500)  # past two refreshes
        page.screenshot(path=PICTURES / "operations.png", full_page=True)
        browser.close()
    print("\n".join(errors) or "docs/images/operations.png")
    return 1 if errors else 0


def trade(running: Stack) -> None:
    """Bets on many cells, and a withdrawal that waits for people."""
    for _ in range(TRADERS):
        trader = Outsider(running.url)
        trader.sign_in()
        trader.deposit(20_000)
        cells = trader.cells()
        for n, cell in enumerate(cells[len(cells) // 4 :: 3][:60]):
            stake = (100, 50, 25, 100)[n % 4] * USDC
            trader.place(trader.bet(cell, stake_micros=stake, min_rate_bps=10_100))
        trader.withdraw(10_001 * USDC)


def _sign_in(page: Page, running: Stack) -> None:
    page.goto(f"{running.url}/admin/login/?next=/admin/operations/")
    page.fill("#id_username", "ann")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_selector(".tiles")


def _propose(page: Page, running: Stack) -> None:
    page.goto(f"{running.url}/admin/do/fund-house/")
    page.fill("#id_amount", "250000")
    page.fill("#id_reason", "More room for larger stakes.")
    page.click(".desk-form button")
    page.wait_for_selector(".messagelist .success")


if __name__ == "__main__":
    sys.exit(main())
