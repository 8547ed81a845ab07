"""A person in front of the page: what they see, and where they tap."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, TimeoutError, expect

PATIENCE_MS: Final = 30_000
MICROS: Final = 1_000_000
TWICE_BPS: Final = 20_000
TAKEN: Final = ("confirmed", "won", "lost")
_VIOLATIONS: Final = """
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) =>
      window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


class Spot(NamedTuple):
    """A cell on offer and where its middle is on the screen."""

    column: int
    low: int
    x: float
    y: float
    rate: int


class Trader:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        # Messages that a test makes happen on purpose.
        self.expected: tuple[str, ...] = ()
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(_VIOLATIONS)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", self._said)
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console {message.type}: {message.text}")

    def _asked(self, url: str) -> None:
        if urlsplit(url).hostname not in ("127.0.0.1", None, ""):
            self.complaints.append(f"asked elsewhere: {url}")

    @classmethod
    @contextmanager
    def visiting(
        cls,
        browser: Browser,
        url: str,
        before: Callable[[Page], None] = lambda _: None,
        **options: Any,
    ) -> Iterator["Trader"]:
        context = browser.new_context(**options)
        try:
            trader = cls(context.new_page())
            before(trader.page)
            trader.page.goto(url)
            yield trader
            trader.check()
        finally:
            context.close()

    def check(self) -> None:
        """Nothing went wrong behind the scenes."""
        violations: list[str] = self.page.evaluate("window.violations ?? []")
        said = [c for c in self.complaints if not any(known in c for known in self.expected)]
        assert not said, said
        assert not violations, violations

    # What is there.

    def see(self, selector: str, **options: Any) -> Locator:
        return self.page.locator(selector, **options)

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("tapTrading.look()")
        return found

    def bets(self) -> list[dict[str, Any]]:
        bets: list[dict[str, Any]] = self.look()["bets"]
        return bets

    def wait_until(self, expression: str, argument: Any = None, ms: float = PATIENCE_MS) -> None:
        self.page.wait_for_function(expression, arg=argument, timeout=ms)

    def wait_for_state(self, *states: str, at_least: int = 1, ms: float = PATIENCE_MS) -> None:
        self.wait_until(
            "([states, n]) => tapTrading.look().bets"
            ".filter((bet) => states.includes(bet.state)).length >= n",
            [list(states), at_least],
            ms,
        )

    def remember_states(self) -> None:
        """From now on, what each bet looked like one after the other."""
        self.page.evaluate(
            "() => { window.states = {}; setInterval(() => {"
            " for (const { nonce, state } of tapTrading.look().bets) {"
            " states[nonce] ??= [];"
            " if (states[nonce].at(-1) !== state) states[nonce].push(state); } }, 5); }"
        )

    def states_of(self, bet: dict[str, Any]) -> list[str]:
        states: list[str] = self.page.evaluate("(nonce) => states[nonce]", bet["nonce"])
        return states

    def resolved(self, bet: dict[str, Any]) -> dict[str, Any]:
        """This bet once its column has passed."""
        self.wait_until(
            "(nonce) => tapTrading.look().bets.some((bet) =>"
            " bet.nonce === nonce && ['won', 'lost', 'void'].includes(bet.state))",
            bet["nonce"],
        )
        return next(known for known in self.bets() if known["nonce"] == bet["nonce"])

    def balance_micros(self) -> int:
        text = self.see("#balance").inner_text().replace("$", "").replace(",", "")
        whole, _, cents = text.partition(".")
        return int(whole) * MICROS + int(cents) * MICROS // 100

    def hears(self, text: str) -> None:
        expect(self.see("#toasts")).to_contain_text(text, timeout=PATIENCE_MS)

    # What they do.

    def get_play_money(self) -> None:
        self.see("#play").click()
        expect(self.see("#balance")).to_have_text("$1,000.00", timeout=PATIENCE_MS)
        self.wait_for_offers()

    def wait_for_offers(self) -> None:
        # A page that has loaded may still be asking for the platform's configuration.
        self.wait_until("() => globalThis.tapTrading?.look().cells.length > 20")

    def spots(self) -> list[Spot]:
        """What is on offer and not about to lock, soonest first. Of a column first what a moving
        price hardly takes away: a sure cell is soon too sure to be offered."""
        look = self.look()
        box = self.see("#chart").bounding_box()
        assert box is not None
        taken = {(bet["column"], bet["low"]) for bet in look["bets"]}
        found = [
            Spot(
                cell["column"],
                cell["low"],
                box["x"] + cell["x"],
                box["y"] + cell["y"],
                cell["rate"],
            )
            for cell in look["cells"]
            if cell["column"] * 1_000 > look["now"] + 14_000
            and (cell["column"], cell["low"]) not in taken
        ]
        margin = 30
        inside = [
            spot
            for spot in found
            if box["y"] + margin < spot.y < box["y"] + box["height"] - 2 * margin
            and spot.x < box["x"] + box["width"] - 100
        ]
        return sorted(inside, key=lambda spot: (spot.column, abs(spot.rate - TWICE_BPS)))

    def tap(self, spot: Spot | None = None) -> Spot:
        chosen = spot or self._first_spot()
        self.page.mouse.click(chosen.x, chosen.y)
        return chosen

    def _first_spot(self) -> Spot:
        deadline = time.monotonic() + PATIENCE_MS / 1_000
        while not (spots := self.spots()):  # the price is too old for a moment, say
            assert time.monotonic() < deadline, "nothing to tap on"
            self.page.wait_for_timeout(100)
        return spots[0]

    def bet(self, tap: Callable[[Spot], Any] | None = None) -> dict[str, Any]:
        """Tap until a bet is confirmed, and which one. Before a tap is priced the rate may move
        further than is allowed, and before it reaches the page the chart moves on."""
        for _ in range(5):
            known = {bet["nonce"] for bet in self.bets()}
            (tap or self.tap)(self._first_spot())
            with suppress(TimeoutError):
                self.wait_until("(n) => tapTrading.look().bets.length > n", len(known), ms=3_000)
            self.wait_until(
                "() => tapTrading.look().bets"
                ".every((bet) => bet.state !== 'pending' && bet.state !== 'unknown')"
            )
            for bet in self.bets():
                if bet["nonce"] not in known and bet["state"] in TAKEN:
                    return bet
        raise AssertionError(f"no bet was confirmed: {self.bets()}")

    def tap_until_state(self, *states: str, at_least: int = 1) -> None:
        """A tap may miss its cell, or come at a moment when none is taken."""
        for _ in range(5):
            self.tap()
            with suppress(TimeoutError):
                self.wait_for_state(*states, at_least=at_least, ms=4_000)
                return
        raise AssertionError(f"never {states}: {self.bets()}")

    def taps_until_told(self, text: str) -> None:
        """The price may be too old for a moment, which the page says first."""
        for _ in range(5):
            self.tap()
            with suppress(AssertionError):
                expect(self.see("#toasts")).to_contain_text(text, timeout=4_000)
                return
        raise AssertionError(f"never told: {text}")

    def choose_stake(self, dollars: int) -> None:
        self.see(f'label[for="stake-{dollars * MICROS}"]').click()

    def open_tab(self, name: str) -> None:
        self.see(f'[role="tab"][data-tab="{name}"]').click()
        expect(self.see(f"#panel-{name}")).to_be_visible()
