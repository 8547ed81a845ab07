"""What is counted as somebody trying something."""

import logging

import pytest
from prometheus_client import REGISTRY

from taptrading import security
from taptrading.clock import US_PER_S
from taptrading.security import Kind

NOW_US = 1_764_000_000 * US_PER_S


def count(kind: Kind) -> float:
    found = REGISTRY.get_sample_value("security_events_total", {"kind": kind})
    assert found is not None, "a kind is there from the start"
    return found


def test_event_when_it_happens_then_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    before = count("role_change")
    with caplog.at_level(logging.WARNING):
        security.event("role_change", who="operator")
    assert count("role_change") - before == 1
    (record,) = caplog.records
    assert (record.getMessage(), record.__dict__["kind"]) == ("security event", "role_change")
    assert record.__dict__["who"] == "operator"


def test_repeated_when_it_stays_rare_then_nothing_is_said() -> None:
    before = count("bad_signatures")
    repeated = security.Repeated("bad_signatures", most=3)
    for minute in range(10):
        for _ in range(3):
            repeated.seen("10.0.0.1", NOW_US + minute * 60 * US_PER_S)
    assert count("bad_signatures") == before


def test_repeated_when_one_client_goes_on_and_on_then_one_event_a_minute() -> None:
    before = count("bad_signatures")
    repeated = security.Repeated("bad_signatures", most=3)
    for second in range(90):
        for _ in range(50):
            repeated.seen("10.0.0.1", NOW_US + second * US_PER_S)
        repeated.seen("10.0.0.2", NOW_US + second * 30 * US_PER_S)
    assert count("bad_signatures") - before == 2
