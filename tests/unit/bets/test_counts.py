"""What is counted of bets, and what the journal says of them."""

import logging

import pytest
from prometheus_client import REGISTRY

from bets import counts
from taptrading import journal, metrics
from taptrading.errors import Refusal


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "journal")
    metrics.flush()
    caplog.clear()
    return caplog


def test_bets_when_decided_then_counted_by_status_and_reason() -> None:
    metrics.flush()
    names = ("accepted", "rejected", "timeout")
    before = {name: sample("bets_placed_total", status=name) for name in names}
    moved = sample("bets_refused_total", reason="rate_moved")
    counts.decided("a", None, 1)  # the writer counts what it accepted
    for code in ("rate_moved", "rate_moved", "bad_signature", "outcome_unknown"):
        counts.decided("a", Refusal(code), 0)
    metrics.flush()
    after = {name: sample("bets_placed_total", status=name) for name in names}
    assert {name: after[name] - before[name] for name in names} == {
        "accepted": 0,
        "rejected": 3,
        "timeout": 1,
    }
    assert sample("bets_refused_total", reason="rate_moved") - moved == 2


def test_bets_when_priced_then_confirmed_and_rejected_ones_are_counted() -> None:
    names = ("confirmed", "rejected")
    before = {name: sample("bets_placed_total", status=name) for name in names}
    counts.priced(5, ["rate_moved", "price_stale", "rate_moved"])
    after = {name: sample("bets_placed_total", status=name) for name in names}
    assert {name: after[name] - before[name] for name in names} == {"confirmed": 5, "rejected": 3}


def test_bets_when_resolved_then_outcomes_stakes_payments_and_profit_are_told() -> None:
    names = ("bets_staked_micros_total", "bets_paid_micros_total", "house_profit_micros")
    before = {name: sample(name) for name in names}
    won = sample("bets_resolved_total", outcome="won")
    counts.resolved([("won", 100, 250), ("lost", 300, 0), ("void", 50, 50), ("won", 10, 20)])
    after = {name: sample(name) for name in names}
    assert [after[name] - before[name] for name in names] == [460, 320, 140]
    assert sample("bets_resolved_total", outcome="won") - won == 2


def test_journal_when_bets_are_decided_then_one_line_says_what_became_of_many(
    lines: pytest.LogCaptureFixture,
) -> None:
    counts.decided("first", None, 17)
    counts.decided("second", Refusal("rate_moved"), 0)
    assert not lines.records
    metrics.flush()
    (record,) = lines.records
    assert record.getMessage() == "bets decided"
    assert record.__dict__["bets"] == ["first 17", "second rate_moved"]


def test_journal_when_bets_come_by_the_hundred_then_a_line_for_some_dozens(
    lines: pytest.LogCaptureFixture,
) -> None:
    for number in range(250):
        counts.decided("x", None, number)
    metrics.flush()
    words = [record.__dict__["bets"] for record in lines.records]
    assert [len(line) for line in words] == [80, 80, 80, 10]
    assert [word for line in words for word in line] == [f"x {number}" for number in range(250)]


def test_journal_when_it_is_off_then_nothing_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "journal")
    counts.decided("x", None, 1)
    assert not journal.wanted()
    assert not counts._decided._words
