"""The ledger as its wallet sees it: signs, balances, pages, filters, CSV."""

import csv
import io
from typing import Any

import pytest

from taptrading import clock
from tests.fakes import InProcessLink, ManualClock
from wallet import history, tasks
from wallet.models import LedgerEntry, Wallet

USDC = 1_000_000


@pytest.fixture
def busy(trader: Any, now: ManualClock) -> Any:
    """In 100, out 30 (cancelled), out 20 (completed), in 5; ten seconds apart."""
    trader.deposit(100)
    now.advance(10)
    held = trader.post("withdrawals", trader.withdrawal(30 * USDC)).json()
    now.advance(10)
    trader.delete(f"withdrawals/{held['withdrawal_id']}")
    now.advance(10)
    trader.post("withdrawals", trader.withdrawal(20 * USDC))
    tasks.advance_withdrawals()
    now.advance(10)
    trader.deposit(5)
    return trader


def lines(trader: Any, query: str = "") -> list[tuple[str, int, int]]:
    reply = trader.get(f"ledger?{query}")
    assert reply.status_code == 200, reply.content
    return [
        (e["kind"], e["amount_micros"] // USDC, e["balance_after_micros"] // USDC)
        for e in reply.json()["results"]
    ]


def test_ledger_then_this_wallets_side_newest_first(busy: Any) -> None:
    assert lines(busy) == [
        ("DEPOSIT", 5, 85),
        ("HOLD", -20, 80),
        ("RELEASE", 30, 100),
        ("HOLD", -30, 70),
        ("DEPOSIT", 100, 100),
    ]


def test_ledger_then_amounts_sum_to_the_balance(busy: Any) -> None:
    entries = busy.get("ledger").json()["results"]
    balance = busy.get("wallet").json()["balance_micros"]
    assert sum(entry["amount_micros"] for entry in entries) == balance
    assert set(entries[0]) == set(history.COLUMNS)
    assert entries[0]["entry_id"].isdecimal()


def test_ledger_when_filtered_by_kind_then_only_those(busy: Any) -> None:
    assert lines(busy, "kind=HOLD") == [("HOLD", -20, 80), ("HOLD", -30, 70)]
    assert lines(busy, "kind=PAYOUT") == []


def test_ledger_when_filtered_by_time_then_from_is_in_and_to_is_out(busy: Any) -> None:
    times = [entry["created_at"] for entry in busy.get("ledger").json()["results"]]
    assert len(lines(busy, f"from={times[2]}")) == 3
    assert len(lines(busy, f"to={times[2]}")) == 2
    assert [kind for kind, _, _ in lines(busy, f"from={times[2]}&to={times[1]}")] == ["RELEASE"]
    assert lines(busy, f"from={times[2]}&to={times[2]}") == []
    assert lines(busy, f"from={times[1]}&to={times[2]}") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_ledger_when_read_in_pages_then_nothing_is_missed_or_doubled(busy: Any, limit: int) -> None:
    url, found = f"/api/v1/ledger?limit={limit}", []
    while url:
        page = busy.get(url.removeprefix("/api/v1/")).json()
        assert 0 < len(page["results"]) <= limit
        found += [entry["entry_id"] for entry in page["results"]]
        url = page["next"]
    assert found == [e["entry_id"] for e in busy.get("ledger").json()["results"]]
    assert len(found) == len(set(found)) == 5


def test_ledger_when_csv_then_the_same_columns_and_rows(busy: Any) -> None:
    reply = busy.get("ledger?limit=2", Accept="text/csv")
    assert reply["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(reply.content.decode())))
    page = busy.get("ledger?limit=2").json()
    assert rows == [{k: str(v) for k, v in entry.items()} for entry in page["results"]]
    assert reply["Link"] == f'<{page["next"]}>; rel="next"'


def test_ledger_when_csv_is_refused_then_the_error_is_json(busy: Any) -> None:
    reply = busy.get("ledger?kind=NOPE", Accept="text/csv")
    assert reply["Content-Type"] == "application/json"
    assert reply.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    "query",
    [
        "kind=deposit",
        "kind=",
        "from=",
        "to=",
        "from=now",
        "from=%202025-11-24T16:00:00Z",
        "to=1764000000",
        "from=2025-11-24",
        "limit=0",
        "limit=201",
        "before=x",
        "to=2025-02-30T00:00:00Z",
    ],
)
def test_ledger_when_query_is_malformed_then_invalid_request(busy: Any, query: str) -> None:
    reply = busy.get(f"ledger?{query}")
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")


def test_ledger_when_times_are_far_away_then_empty_or_all(busy: Any) -> None:
    assert len(lines(busy, "from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z")) == 5
    assert lines(busy, "from=9999-12-31T23:59:59Z") == []
    assert lines(busy, "to=0001-01-01T00:00:00Z") == []


def test_ledger_when_another_wallet_asks_then_its_own(busy: Any, stranger: Any) -> None:
    stranger.sign_in()
    assert lines(stranger) == []


def test_ledger_when_deep_then_both_walks_use_an_index(writer: InProcessLink) -> None:
    for side in ("debit", "credit"):
        walk = LedgerEntry.objects.order_by("-id").filter(id__lt=10**18, kind="STAKE")
        plan = walk.filter(**{f"{side}_wallet": 5}).explain()
        assert f"USING INDEX ledger_{side}" in plan
        assert "TEMP B-TREE" not in plan


def test_wallet_when_it_changed_then_read_from_the_database(busy: Any) -> None:
    wallet = Wallet.objects.get(address=busy.address)
    assert busy.get("wallet").json() == {
        "address": busy.address,
        "balance_micros": wallet.balance_micros,
        "held_micros": 0,
        "open_stake_micros": 0,
        "frozen": False,
    }
    assert clock.to_us(wallet.created_at) < clock.now_us()
