"""Every GET there is: as many queries for fifty rows as for one, and each by an index."""

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from bets import reads
from bets.models import Bet, Settlement
from pricefeed import recorder
from pricefeed.board import TickRecord
from taptrading import clock
from tests.fakes import InProcessLink
from wallet.ids import HOUSE
from wallet.models import Deposit, LedgerEntry, SessionKey, Wallet, Withdrawal

NONCES = [uuid.UUID(int=number) for number in range(1, 52)]
BET_ID = 2
COLUMN = 1_764_000_000
UNPAID = 1_600_000_000


class Read(NamedTuple):
    """A GET to ask for, and how many queries it may take: one of them says who asks."""

    path: str
    queries: int


# By the route that each asks for. A new GET must be put here.
READS = {
    "api/v1/bets": [
        Read("bets?limit=50", 2),
        Read("bets?limit=50&status=won", 2),
        Read("bets?limit=50&from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z", 2),
        Read("bets?limit=10&before=40", 2),
    ],
    "api/v1/bets/<id:bet_id>": [Read(f"bets/{BET_ID}", 2)],
    "api/v1/bets/by-nonce/<str:nonce>": [Read(f"bets/by-nonce/{NONCES[1]}", 2)],
    "api/v1/settlements/<id:column_start>": [
        Read(f"settlements/{COLUMN}", 1),
        Read(f"settlements/{UNPAID}", 2),
    ],
    "api/v1/session-keys": [Read("session-keys?limit=50", 2)],
    "api/v1/wallet": [Read("wallet", 2)],
    "api/v1/player-limits": [Read("player-limits", 2)],
    "api/v1/ledger": [
        Read("ledger?limit=50", 2),
        Read("ledger?limit=50&kind=STAKE", 2),
        Read("ledger?limit=50&from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z", 2),
        Read("ledger?limit=10&before=40", 2),
    ],
    "api/v1/deposits": [Read("deposits?limit=50", 2)],
    "api/v1/withdrawals": [Read("withdrawals?limit=50", 2)],
}
# These answer from memory or from recorded ticks; see bets/reads.py.
WITHOUT_DJANGO = {f"/api/v1/{name}" for name in ("config", "status", "price", "prices", "grid")}
EVERY = [read for found in READS.values() for read in found]


def get_routes(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    for entry in patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from get_routes(entry.url_patterns, route)
        elif isinstance(entry, URLPattern) and hasattr(
            getattr(entry.callback, "view_class", None), "get"
        ):
            yield route


def test_every_get_below_the_api_is_listed_here() -> None:
    found = {route for route in get_routes(get_resolver().url_patterns) if "api/v1/" in route}
    assert found == set(READS)
    assert set(reads.ROUTES) == WITHOUT_DJANGO


def fill(wallet: Wallet, count: int) -> None:
    """`count` rows of everything, beside the books."""
    now = clock.now()
    Bet.objects.bulk_create(
        Bet(
            id=number,
            wallet=wallet,
            house_id=HOUSE,
            column_start=UNPAID if number == 1 else COLUMN + 5 * number,
            low_cents=9_500_000,
            high_cents=9_501_000,
            taken_low_cents=9_500_000,
            stake_micros=1,
            min_rate_bps=10_000,
            nonce=NONCES[number],
            timestamp=0,
            signature=bytes(65),
            status="confirmed" if number == 1 else "won",
            cursor=number,
            accepted_at=now,
            resolved_at=None if number == 1 else now,
        )
        for number in range(1, count + 1)
    )
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            id=number,
            debit_wallet_id=(wallet.pk, HOUSE)[number % 2],
            credit_wallet_id=(HOUSE, wallet.pk)[number % 2],
            amount_micros=1,
            kind=("STAKE", "PAYOUT")[number % 2],
            reference=f"bet:{number}",
            debit_balance_after_micros=0,
            credit_balance_after_micros=0,
            created_at=now,
        )
        for number in range(1, count + 1)
    )
    Deposit.objects.bulk_create(
        Deposit(id=number, wallet=wallet, amount_micros=1, status="pending", created_at=now)
        for number in range(1, count + 1)
    )
    Withdrawal.objects.bulk_create(
        Withdrawal(
            id=number,
            wallet=wallet,
            amount_micros=1,
            to_address=f"0x{number:040x}",
            nonce=NONCES[number],
            timestamp=0,
            signature=bytes(65),
            status="held",
            approve_after=now,
            created_at=now,
            changed_at=now,
        )
        for number in range(1, count + 1)
    )
    SessionKey.objects.bulk_create(
        SessionKey(
            id=number,
            wallet=wallet,
            address=f"0x{number:040x}",
            label="phone",
            max_stake_micros=1,
            max_total_micros=1,
            nonce=NONCES[number],
            timestamp=0,
            signature=bytes(65),
            expires_at=now,
            created_at=now,
        )
        for number in range(1, count + 1)
    )
    Settlement.objects.get_or_create(
        column_start=COLUMN,
        defaults={"state": "settled", "ticks": 51, "ticks_sha256": "", "decided_at": now},
    )


def queries_of(act: Callable[[], Any]) -> list[tuple[str, str]]:
    """Each as (the database that was asked, SQL)."""
    captured = {alias: CaptureQueriesContext(connections[alias]) for alias in connections}
    with contextlib.ExitStack() as every:
        for one in captured.values():
            every.enter_context(one)
        act()
    return [(alias, query["sql"]) for alias, one in captured.items() for query in one]


@pytest.fixture
def reader(trader: Any) -> Any:
    trader.sign_in()
    return trader


@pytest.mark.parametrize("read", EVERY, ids=[read.path for read in EVERY])
@pytest.mark.parametrize("rows", [2, 50])
def test_get_when_there_are_more_rows_then_no_more_queries(
    reader: Any, writer: InProcessLink, read: Read, rows: int
) -> None:
    fill(Wallet.objects.get(address=reader.address), rows)
    replies: list[Any] = []
    queries = queries_of(lambda: replies.append(reader.get(read.path)))
    assert replies[0].status_code == 200, replies[0].content
    assert len(queries) == read.queries, queries
    if read.path.endswith("limit=50"):
        assert len(replies[0].json()["results"]) == rows


# What may be walked from end to end: what a statement has made by itself, a page at most.
OWN = {"step", "credits", "debits"}


def plan_of(sql: str, alias: str = "default") -> list[str]:
    with connections[alias].cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql.replace("%", "%%"), [])
        return [detail for *_, detail in cursor.fetchall()]


def walks(plan: list[str]) -> list[str]:
    """The steps that read a whole table or index, or sort more than a page."""
    found = []
    for before, step in pairwise(["", *plan]):
        scanned = re.match(r"SCAN (\S+)", step)
        sorts = step == "USE TEMP B-TREE FOR ORDER BY" and not is_own(before)
        if sorts or (scanned and not is_own(step)):
            found.append(step)
    return found


def is_own(step: str) -> bool:
    return step.startswith("SCAN ") and step.split()[1] in OWN


@pytest.mark.parametrize("read", EVERY, ids=[read.path for read in EVERY])
def test_get_then_every_query_goes_by_an_index(
    reader: Any, writer: InProcessLink, read: Read
) -> None:
    fill(Wallet.objects.get(address=reader.address), 2)
    for alias, sql in queries_of(lambda: reader.get(read.path)):
        plan = plan_of(sql, alias)
        assert plan, sql
        assert not walks(plan), f"{sql}\n{plan}"


def test_walks_when_a_table_is_scanned_or_sorted_then_it_is_found(writer: InProcessLink) -> None:
    assert walks(plan_of("SELECT * FROM bets_bet WHERE stake_micros = 5"))
    assert walks(plan_of("SELECT wallet_id FROM bets_bet"))
    assert walks(plan_of("SELECT * FROM wallet_deposit WHERE id > 5 ORDER BY amount_micros"))


def test_candles_then_every_query_goes_by_an_index(writer: InProcessLink) -> None:
    now_us = clock.now_us()
    at_ms = now_us // 1_000 // 100 * 100
    recorder.record(
        [TickRecord(n + 1, at_ms - 100 * n, 9_500_000, 0, 0, "test") for n in range(100)], now_us
    )
    queries = queries_of(lambda: recorder.ohlc(0, now_us, 5, 50))
    assert 2 <= len(queries) <= 4
    for alias, sql in queries:
        plan = plan_of(sql, alias)
        # The few steps of a page are sorted; the ticks of a page are not walked through.
        scans = [step for step in walks(plan) if step.startswith("SCAN")]
        assert plan, sql
        assert not scans, f"{sql}\n{plan}"
