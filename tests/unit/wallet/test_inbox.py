"""The writer's inbox: order, two lanes that take turns, bounds."""

import time
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from bets.settlement import SettleBets
from taptrading import metrics
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet import inbox as inbox_module
from wallet.inbox import Inbox, Request
from wallet.protocol import HEADER
from wallet.transfers import RequestDeposit


class Line:
    """Whoever asked; hears answers."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def is_closing(self) -> bool:
        return False

    def write(self, frame: bytes) -> None:
        self.heard.append(msgspec.msgpack.decode(frame[HEADER.size :])[1])


def bets(number: int, count: int = 1) -> Request:
    return Request(Line(), number, [RequestDeposit(1, 1)] * count)


def settle(number: int) -> Request:
    return Request(Line(), number, [SettleBets(5)])


def taken(inbox: Inbox) -> list[int]:
    return [request.number for request in inbox.take()]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def test_take_then_all_that_wait_in_order(inbox: Inbox) -> None:
    for number in range(3):
        inbox.put(bets(number))
    assert inbox
    assert taken(inbox) == [0, 1, 2]
    assert not inbox


def test_take_when_it_waited_while_a_batch_was_run_then_too_late_from_its_beginning(
    inbox: Inbox,
) -> None:
    patience_s = LIMITS.writer_batch_ms / 1_000
    began = time.monotonic()
    line = Line()
    inbox.put(Request(line, 0, [RequestDeposit(1, 1)], began - patience_s))
    inbox.put(Request(Line(), 1, [RequestDeposit(1, 1)], began - 0.1))
    assert taken(inbox) == [1]
    assert line.heard == [[["refusal", "dependency_unavailable", {}, ""]]]


def test_take_when_both_lanes_wait_then_they_take_turns(inbox: Inbox) -> None:
    inbox.put(settle(100))
    inbox.put(settle(101))
    inbox.put(bets(0))
    assert taken(inbox) == [0]
    inbox.put(bets(1))
    assert taken(inbox) == [100, 101]
    inbox.put(settle(102))
    assert taken(inbox) == [1]
    inbox.put(bets(2))
    assert taken(inbox) == [102]
    assert taken(inbox) == [2]


def test_take_when_one_lane_is_empty_then_the_other_does_not_wait(inbox: Inbox) -> None:
    for number in (100, 101):
        inbox.put(settle(number))
        assert taken(inbox) == [number]
    for number in (0, 1):
        inbox.put(bets(number))
        assert taken(inbox) == [number]


def test_take_when_more_wait_than_a_batch_holds_then_whole_requests_only(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "LIMITS", type(LIMITS)(writer_batch=3))
    for number, count in enumerate((2, 2, 5, 1)):
        inbox.put(bets(number, count))
    assert [taken(inbox) for _ in range(4)] == [[0], [1], [2], [3]]


def test_put_when_the_inbox_is_full_then_overloaded_at_once(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = type(LIMITS)(writer_queue=3, entry_queue=3, writer_batch=3)
    monkeypatch.setattr(inbox_module, "LIMITS", limits)
    late = bets(2, 2)
    full = told("writer_queue_full_total")
    inbox.put(bets(0))
    inbox.put(settle(1))
    inbox.put(late)
    assert refusals(late) == ["overloaded", "overloaded"]
    assert told("writer_queue_full_total") - full == 2
    assert taken(inbox) == [0]
    inbox.put(bets(3, 2))
    assert (taken(inbox), taken(inbox)) == ([1], [3])


def test_figures_when_requests_wait_then_how_many_and_the_most_since_they_were_told(
    inbox: Inbox,
) -> None:
    metrics.flush()
    inbox.put(bets(0, 3))
    inbox.put(settle(1))
    assert told("writer_queue_depth") == 4
    inbox.take()
    assert told("writer_queue_depth") == 1
    metrics.flush()
    assert told("writer_queue_use_ratio") == 4 / LIMITS.writer_queue
    inbox.take()
    metrics.flush()
    assert told("writer_queue_use_ratio") == 1 / LIMITS.writer_queue
    metrics.flush()
    assert (told("writer_queue_depth"), told("writer_queue_use_ratio")) == (0, 0)


def told(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def test_take_when_a_request_waited_too_long_then_nothing_was_done(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "LIMITS", type(LIMITS)(writer_batch_ms=0))
    late = bets(0)
    inbox.put(late)
    assert taken(inbox) == []
    assert refusals(late) == ["dependency_unavailable"]
    assert not inbox


def refusals(request: Request) -> list[str]:
    line: Any = request.stream
    (outcomes,) = line.heard
    return [msgspec.convert(outcome, Refusal).code for outcome in outcomes]
