"""What the game's resources take and give, without a request around it."""

import pytest
from django.http import QueryDict

from bets.serializers import BetQuery, SettlementOutput
from bets.settled import SettlementRow


@pytest.mark.parametrize(
    "query", ["status=", "from=", "to=", "status=open", "from=2025-11-24", "to=1764000000"]
)
def test_bet_query_when_a_value_is_empty_or_wrong_then_invalid(query: str) -> None:
    assert not BetQuery(data=QueryDict(query)).is_valid()


def test_bet_query_when_from_is_later_than_to_then_both_are_taken() -> None:
    query = BetQuery(data=QueryDict("status=won&from=2025-11-24T16:00:01Z&to=2025-11-24T16:00:00Z"))
    assert query.is_valid()
    assert query.validated_data == {
        "status": "won",
        "from": 1_764_000_001_000_000,
        "to": 1_764_000_000_000_000,
    }


def test_bet_query_when_there_is_none_then_nothing_is_asked() -> None:
    query = BetQuery(data=QueryDict(""))
    assert query.is_valid()
    assert query.validated_data == {}


def test_settlement_when_open_then_what_is_not_known_yet_is_null() -> None:
    undecided = SettlementRow(1_764_000_000, "open")
    assert SettlementOutput(undecided).data == {
        "column_start": 1_764_000_000,
        "state": "open",
        "open_cents": None,
        "low_cents": None,
        "high_cents": None,
        "close_cents": None,
        "ticks": 0,
        "max_gap_ms": None,
        "sources": [],
        "ticks_sha256": None,
        "reason": None,
    }


def test_settlement_when_decided_then_its_hash_is_told() -> None:
    decided = SettlementRow(5, "settled", ticks=51, ticks_sha256="ab" * 32)
    assert SettlementOutput(decided).data["ticks_sha256"] == "ab" * 32
