"""Which indexes the life of a bet writes to, and which find what is open."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bets import liabilities, pricing, settlement, tasks, views
from taptrading.errors import ApiError

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's plans"),
]


def written_indexes(statement: str) -> set[str]:
    """The indexes of bets that this UPDATE opens for writing."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", [1] * statement.count("%s"))
        pages = {row[3] for row in cursor.fetchall() if row[1] == "OpenWrite"}
        cursor.execute("SELECT name, rootpage, type FROM sqlite_master WHERE tbl_name = 'bets_bet'")
        return {name for name, page, kind in cursor.fetchall() if kind == "index" and page in pages}


def test_pricing_a_bet_writes_to_no_index() -> None:
    assert written_indexes(pricing._CONFIRM) == set()


def test_rejecting_a_bet_gives_up_its_cell() -> None:
    assert written_indexes(pricing._REJECT) == {"bet_open", "bet_one_per_cell"}


def test_settling_a_bet_writes_to_the_index_of_open_bets_only() -> None:
    assert written_indexes(settlement._UPDATE) == {"bet_open"}


@pytest.mark.parametrize("statement", [settlement._LOAD, pricing._WAITING])
def test_open_bets_are_found_by_their_index(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", [1] * statement.count("%s"))
        plan = " ".join(row[3] for row in cursor.fetchall())
    assert "USING INDEX bet_open" in plan


def test_columns_that_owe_are_looked_up_in_the_index() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert list(settlement._with_open_bets(5)) == []
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {queries[0]['sql']}")
        plan = [row[3] for row in cursor.fetchall()]
    assert plan == ["SEARCH bets_bet USING INDEX bet_open (column_start>? AND column_start<?)"]


def plans(queries: CaptureQueriesContext) -> str:
    with connection.cursor() as cursor:
        rows: list[str] = []
        for query in queries:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            rows += [row[3] for row in cursor.fetchall()]
    return " ".join(rows)


def test_bets_that_a_worker_has_to_pay_are_counted_in_their_index_alone() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert tasks._open(5) == 0
    assert "bet_open (column_start=?)" in plans(queries)


def test_bets_that_a_column_owes_are_looked_up_in_their_index() -> None:
    with CaptureQueriesContext(connection) as queries, pytest.raises(ApiError):
        views._undecided(5)
    assert "bet_open (column_start=?)" in plans(queries)


def test_stakes_that_wait_for_their_tick_are_added_up_without_the_history() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert liabilities.promised_micros() == 0
    assert "USING INDEX bet_open" in plans(queries)
