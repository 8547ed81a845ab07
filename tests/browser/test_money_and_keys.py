"""Session keys, money out, and a wallet of the trader's own."""

from collections.abc import Iterator

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import DESK
from tests.browser.trader import PATIENCE_MS, Trader
from tests.stack import Stack

WALLET = """
    window.ethereum = {
      request: async ({ method, params }) => {
        if (window.refusing) throw { code: 4001, message: "User rejected the request." };
        if (/^eth_(requestA|a)ccounts$/.test(method)) return [await walletAddress()];
        if (method === "personal_sign") return walletSign(params[0], params[1]);
        throw new Error(`not asked for: ${method}`);
      },
    };
"""


def test_session_key_when_its_cap_is_passed_or_it_is_revoked_then_taps_are_refused(
    trader: Trader,
) -> None:
    trader.get_play_money()
    trader.open_tab("keys")
    trader.see("#cap-stake").fill("1")
    trader.see("#cap-total").fill("2")
    trader.see("text=Authorise this browser").click()
    trader.hears("This browser may now sign your taps.")
    expect(trader.see("#panel-keys .entry", has_text="(in use)")).to_contain_text("of $2.00")

    trader.choose_stake(5)
    trader.taps_until_told("This browser's key has expired or reached its limit.")
    trader.choose_stake(1)
    for _ in range(2):
        trader.bet()
    trader.tap_until_state("refused", at_least=2)

    trader.open_tab("bets")
    trader.open_tab("keys")
    trader.see("#panel-keys .entry", has_text="(in use)").get_by_role("button").click()
    trader.hears("Key revoked.")
    expect(trader.see("#needs-key")).to_be_visible()
    before = len(trader.bets())
    trader.tap()
    assert len(trader.bets()) == before


def test_withdrawal_when_it_is_asked_for_then_balance_falls_and_large_stakes_are_too_much(
    trader: Trader,
) -> None:
    trader.get_play_money()
    trader.open_tab("money")
    trader.see("#amount").fill("950.50")
    trader.see("#panel-money").get_by_role("button", name="Withdraw").click()

    trader.hears("Withdrawal of $950.50")
    expect(trader.see("#balance")).to_have_text("$49.50", timeout=PATIENCE_MS)
    expect(trader.see("#history")).to_contain_text("hold", timeout=PATIENCE_MS)
    for kind, entries in (("DEPOSIT", 1), ("WITHDRAWAL", 0), ("", 2)):
        trader.see("#filter").select_option(kind)
        expect(trader.see("#history .entry")).to_have_count(entries, timeout=PATIENCE_MS)
    trader.see("#since").select_option("last hour")
    expect(trader.see("#history .entry")).to_have_count(2, timeout=PATIENCE_MS)
    trader.choose_stake(50)
    trader.taps_until_told("Not enough balance for this stake.")


def test_ledger_when_it_is_saved_then_one_file_holds_all_its_pages(trader: Trader) -> None:
    trader.get_play_money()
    trader.open_tab("money")
    for _ in range(2):
        trader.see("text=Deposit play money").click()
        trader.hears("Deposited $100.00.")
    # The server's own pages, made short.
    trader.page.route(
        "**/api/v1/ledger?limit=200",
        lambda route: route.continue_(url=route.request.url.replace("limit=200", "limit=1")),
    )

    with trader.page.expect_download() as download:
        trader.see("#panel-money").get_by_role("button", name="CSV").click()

    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("entry_id,kind")
    assert [line.split(",")[1] for line in lines[1:]] == ["DEPOSIT"] * 3
    assert len({line.split(",")[0] for line in lines[1:]}) == 3


def test_amount_when_it_is_none_then_nothing_is_sent(trader: Trader) -> None:
    trader.get_play_money()
    trader.open_tab("money")

    for text in ("", "-1", "1e3", "0", "ten"):
        trader.see("#amount").fill(text)
        trader.see("#panel-money").get_by_role("button", name="Withdraw").click()
        trader.hears("An amount in USDC, please")

    assert trader.see("#balance").inner_text() == "$1,000.00"


def test_page_when_it_is_opened_again_then_session_key_and_money_are_still_there(
    trader: Trader,
) -> None:
    trader.get_play_money()

    trader.page.reload()

    expect(trader.see("#balance")).to_have_text("$1,000.00", timeout=PATIENCE_MS)
    trader.wait_for_offers()
    trader.bet()
    trader.see("#sign-out").click()
    expect(trader.see("#welcome")).to_be_visible()


@pytest.fixture
def owner(chromium: Browser, platform: Stack) -> Iterator[Trader]:
    """A trader whose browser has a wallet. Like some, it writes the last byte as 0 or 1."""
    account = Account.create()

    def sign(text: str, address: str) -> str:
        assert address == account.address.lower()
        signed = account.sign_message(encode_defunct(hexstr=text))
        signature = bytes(signed.signature)
        return "0x" + (signature[:64] + bytes([signature[64] - 27])).hex()

    def before(page: Page) -> None:
        page.expose_function("walletAddress", lambda: account.address)
        page.expose_function("walletSign", sign)
        page.add_init_script(WALLET)

    with Trader.visiting(chromium, platform.url, before, viewport=DESK) as trader:
        yield trader


def test_own_wallet_when_it_is_connected_then_it_signs_once_and_taps_need_no_asking(
    owner: Trader,
) -> None:
    owner.see("text=Connect Browser wallet").click()
    expect(owner.see("#needs-key")).to_be_visible(timeout=PATIENCE_MS)
    owner.see("#make-key").click()
    owner.see("text=Authorise this browser").click()
    owner.hears("This browser may now sign your taps.")
    owner.open_tab("money")
    owner.see("text=Deposit play money").click()
    owner.hears("Deposited $100.00.")

    owner.wait_for_offers()
    owner.bet()


def test_own_wallet_when_page_is_opened_again_then_it_still_signs_for_its_owner(
    owner: Trader,
) -> None:
    owner.see("text=Connect Browser wallet").click()
    expect(owner.see("#needs-key")).to_be_visible(timeout=PATIENCE_MS)

    owner.page.reload()

    owner.see("#make-key").click()
    owner.see("text=Authorise this browser").click()
    owner.hears("This browser may now sign your taps.")


def test_own_wallet_when_its_owner_refuses_then_nothing_is_signed_and_page_says_so(
    owner: Trader,
) -> None:
    connect = owner.see("text=Connect Browser wallet")
    connect.wait_for()
    owner.page.evaluate("window.refusing = true")

    connect.click()

    owner.hears("User rejected the request.")
    expect(owner.see("#welcome")).to_be_visible()
    expect(connect).to_be_enabled()
