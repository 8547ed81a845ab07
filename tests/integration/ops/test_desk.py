"""The operators' pages: figures, deeds, and from anything in hand to the money that hangs on it."""

from typing import Any

import pytest
from django.test import Client

from bets.models import CellExposure
from ops import tasks
from ops.audit import gather
from ops.desk import figures
from ops.models import AuditEntry, Proposal
from ops.staff.admission import CONFIRMED_AT
from pricefeed import overrides
from pricefeed.models import BreakerChange, BreakerOverride
from taptrading import clock
from tests import factories
from tests.fakes import InProcessLink, ManualClock
from tests.integration.ops.conftest import Enter
from wallet.ids import HOUSE
from wallet.models import CustodyEvent, LedgerEntry, Wallet, Withdrawal
from wallet.transfers import RequestWithdrawal

USDC = 1_000_000


@pytest.fixture(autouse=True)
def fresh_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "page", figures._page)


@pytest.fixture
def player(writer: InProcessLink) -> Wallet:
    return factories.funded_wallet(writer, usdc=100)


@pytest.fixture
def operator(enter: Enter, player: Wallet) -> Client:
    return enter("operator", name="ann")


def held(writer: InProcessLink, player: Wallet, usdc: int = 40) -> Withdrawal:
    assert player.address is not None
    writer.call(RequestWithdrawal(player.pk, usdc * USDC, player.address, "ab" * 16, 0, bytes(65)))
    return Withdrawal.objects.get()


def test_operations_when_there_is_money_and_exposure_then_shown_with_shares(
    writer: InProcessLink, operator: Client
) -> None:
    factories.funded_house(writer, usdc=1_000)
    for low, micros in ((9_500_000, 4_000_000), (9_501_000, 10_000_000)):
        CellExposure.objects.create(
            house_id=HOUSE, column_start=1_764_000_010, low_cents=low, liability_micros=micros
        )
    page = operator.get("/admin/operations/")
    house = {line.label: line.value for line in page.context["house"]["lines"]}
    assert (house["Balance"], house["Funded"], house["Profit, all time"]) == (
        *("1,000.00", "1,000.00", "0.00"),
    )
    assert house["Players' balances"] == "100.00"
    exposure = page.context["exposure"]
    assert [band["low"] for band in exposure["bands"]] == ["95,010", "95,000"]
    assert [band["cells"][0]["heat"] for band in exposure["bands"]] == [5, 3]
    assert exposure["sums"][0]["share"] == "14.0 %"
    assert exposure["total"]["share"] == "1.4 %"
    states = {tile.label: tile.state for tile in page.context["tiles"]}
    assert states["Breaker"] == figures.BAD  # no price feed here
    assert states["Last backup"] in (figures.UNKNOWN, figures.GOOD, figures.BAD)


def test_house_when_profit_was_taken_and_bets_are_open_then_neither_is_profit(
    writer: InProcessLink, operator: Client, feed_board: Any, now: ManualClock
) -> None:
    factories.funded_house(writer, usdc=10_000)
    factories.tick(feed_board)
    wallet = factories.funded_wallet(writer, usdc=100)
    factories.accepted(writer.call(factories.place_command(wallet)))
    house = {line.label: line.value for line in figures._page()["house"]["lines"]}
    assert house["Stakes of open bets in it"] == "5.00"
    assert (house["Balance"], house["Profit, all time"]) == ("10,005.00", "0.00")


def test_deed_when_they_have_not_shown_who_they_are_lately_then_asked_first(
    writer: InProcessLink, operator: Client, player: Wallet, settings: Any
) -> None:
    session = operator.session
    session[CONFIRMED_AT] = clock.now_s() - settings.STAFF_RECENT_S - 1
    session.save()
    body = {"wallet": player.pk, "reason": "stolen key"}
    reply = operator.post("/admin/do/freeze/", body)
    assert reply["Location"] == "/admin/second-factor/?next=%2Fadmin%2Fdo%2Ffreeze%2F"
    player.refresh_from_db()
    assert not player.frozen


def test_freeze_when_done_then_the_wallet_is_and_it_is_known_who_and_why(
    writer: InProcessLink, operator: Client, player: Wallet
) -> None:
    body = {"wallet": player.address, "reason": "stolen key"}
    assert operator.post("/admin/do/freeze/", body)["Location"] == "/admin/operations/"
    player.refresh_from_db()
    assert player.frozen
    note = AuditEntry.objects.get(action="wallet.frozen")
    assert (note.actor, note.reason, note.subject) == ("ann", "stolen key", f"wallet:{player.pk}")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("freeze", {"wallet": "0x" + "ff" * 20, "reason": "why"}),
        ("freeze", {"wallet": "1", "reason": "why"}),
        ("freeze", {"reason": "why"}),
        ("fund-house", {"amount": "0", "reason": "why"}),
        ("fund-house", {"amount": "-5", "reason": "why"}),
        ("fund-house", {"amount": "1e9", "reason": "why"}),
        ("fund-house", {"amount": "5", "reason": ""}),
        ("adjust", {"wallet": "2", "amount": "5", "reason": "why"}),
        ("approve-withdrawal", {"withdrawal": "12", "reason": "why"}),
        ("reject-withdrawal", {"withdrawal": "x", "reason": "why"}),
        ("breaker", {"state": "ajar", "minutes": "5", "reason": "why"}),
        ("breaker", {"state": "open", "minutes": "0", "reason": "why"}),
        ("breaker", {"state": "open", "minutes": "5", "reason": ""}),
    ],
)
def test_deed_when_its_form_is_bad_then_refused_and_nothing_is_done(
    writer: InProcessLink, operator: Client, name: str, body: dict[str, str]
) -> None:
    assert operator.post(f"/admin/do/{name}/", body).status_code == 400
    assert not Proposal.objects.exists()
    assert not BreakerOverride.objects.exists()
    assert not Wallet.objects.filter(frozen=True).exists()


def test_reject_when_held_then_the_money_is_back_and_a_second_time_refused(
    writer: InProcessLink, operator: Client, player: Wallet
) -> None:
    row = held(writer, player)
    body = {"withdrawal": row.pk, "reason": "cannot reach them"}
    assert operator.post("/admin/do/reject-withdrawal/", body).status_code == 302
    player.refresh_from_db()
    assert (player.balance_micros, player.held_micros) == (100 * USDC, 0)
    page = operator.post("/admin/do/reject-withdrawal/", body)
    assert "rejected already" in page.content.decode()


def test_proposal_when_seen_by_its_author_and_another_then_only_that_one_approves(
    writer: InProcessLink, operator: Client, enter: Enter
) -> None:
    assert operator.post("/admin/do/fund-house/", {"amount": "50", "reason": "a start"}).url
    (proposal,) = Proposal.objects.all()
    path = f"/admin/proposals/{proposal.pk}/"
    assert b'name="approve"' not in operator.get(path).content
    operator.post(path, {"approve": "yes"})
    proposal.refresh_from_db()
    assert proposal.state == "open"
    assert enter("viewer").post(path, {"approve": "yes"}).status_code == 403
    ben = enter("operator", name="ben")
    assert b'name="approve"' in ben.get(path).content
    ben.post(path, {"approve": "yes"})
    proposal.refresh_from_db()
    assert (proposal.state, Wallet.objects.get(pk=HOUSE).balance_micros) == ("done", 50 * USDC)
    assert b"Approve and carry out" not in ben.get(path).content


def test_override_when_by_a_page_a_command_or_redis_then_each_is_audited_once(
    operator: Client, now: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overrides, "wake_feed", lambda: True)
    body = {"state": "open", "minutes": "5", "reason": "a source lies"}
    assert operator.post("/admin/do/breaker/", body).status_code == 302
    overrides.record("close", reason="checked", by="carl", lasts_s=60)
    assert overrides.record_message("auto")
    assert tasks.gather_audit() == 2  # what the page did is there already
    assert tasks.gather_audit() == 0
    notes = AuditEntry.objects.filter(action="breaker.override").order_by("id")
    told = [(n.actor, n.after["override"], n.reason) for n in notes]
    assert told == [
        ("ann", "open", "a source lies"),
        ("carl", "close", "checked"),
        ("redis", "auto", "Redis message"),
    ]
    until = clock.iso_ms(now.us + 5 * 60 * clock.US_PER_S)
    assert (notes[0].after["until"], notes[0].client) == (until, "127.0.0.0/24")


def test_gather_when_there_is_much_then_all_of_it_once(now: ManualClock, db: None) -> None:
    for n in range(2 * gather.PAGE + 5):
        BreakerChange.objects.create(
            at=clock.from_us(now.us + n), before="closed", after="open", override="auto", reason=""
        )
    assert gather.gather() == 2 * gather.PAGE + 5
    assert gather.gather() == 0
    assert AuditEntry.objects.filter(action="breaker.state").count() == 2 * gather.PAGE + 5


def titles(client: Client, words: str) -> list[str]:
    page = client.get("/admin/trace/", {"q": words})
    assert page.status_code == 200
    return [found.title.split()[0] for found in page.context["found"]]


def test_trace_when_given_anything_that_names_something_then_its_money(
    writer: InProcessLink, operator: Client, player: Wallet, feed_board: Any
) -> None:
    factories.funded_house(writer)
    factories.tick(feed_board)
    bet = factories.accepted(writer.call(factories.place_command(player)))
    row = held(writer, player)
    entry = LedgerEntry.objects.get(kind="STAKE")
    event = CustodyEvent.objects.get()
    assert player.address is not None
    for words, wanted in (
        (player.address.upper().replace("X", "x"), "Wallet"),
        (str(player.pk), "Wallet"),
        (bet["bet_id"], "Bet"),
        (f"bet:{bet['bet_id']}", "Bet"),
        (f"{player.address} {bet['nonce']}", "Bet"),
        (str(row.pk), "Withdrawal"),
        (f"{player.address} {row.nonce}", "Withdrawal"),
        (str(entry.pk), "Entry"),
        (event.event_id, "Custody"),
    ):
        assert titles(operator, words) == [wanted], words
    page = operator.get("/admin/trace/", {"q": f"bet:{bet['bet_id']}"})
    (found,) = page.context["found"]
    assert [line.pk for line in found.entries] == [entry.pk]


@pytest.mark.parametrize(
    "words", ["9" * 19, "9" * 40, "bet:9", "bet:" + "9" * 19, "'; drop", "0x12", "\u0661", "x 1"]
)
def test_trace_when_nothing_is_called_so_then_it_says_so(operator: Client, words: str) -> None:
    assert titles(operator, words) == []


def test_pages_when_there_are_more_rows_then_no_more_queries(
    writer: InProcessLink, operator: Client, player: Wallet, django_assert_max_num_queries: Any
) -> None:
    held(writer, player)
    with django_assert_max_num_queries(12):
        operator.get("/admin/trace/", {"q": player.address})
    with django_assert_max_num_queries(32):
        operator.get("/admin/operations/")
