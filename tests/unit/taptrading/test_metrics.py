"""Figures that are added up first come out as if each had been counted by itself."""

import os
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, Histogram

from taptrading import metrics
from taptrading.metrics import SECONDS, Answers, BulkHistogram, Peak, Seen

ENDPOINT = "/test/<int:number>"


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture(autouse=True)
def flushers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is not there for the next one."""
    monkeypatch.setattr(metrics, "_flushers", list(metrics._flushers))
    monkeypatch.setattr(metrics, "_answers", {})


def requests(status: int, method: str = "GET", endpoint: str = ENDPOINT) -> float:
    labels = {"method": method, "endpoint": endpoint, "status": str(status)}
    return sample("http_requests_total", **labels)


def test_answers_when_flushed_then_counted_by_status_and_only_once() -> None:
    answers = Answers("GET", ENDPOINT)
    before = requests(200), requests(503)
    for status in (200, 200, 503):
        answers.add(status, 0.004)
    answers.flush()
    answers.flush()
    assert (requests(200) - before[0], requests(503) - before[1]) == (2, 1)


def test_durations_when_added_up_then_the_same_as_observed_one_by_one() -> None:
    every = [0.0, 0.001, 0.0011, 0.05, 0.3, 10.0, 10.1, 99.0]
    one_by_one = Histogram("single", "", buckets=SECONDS, registry=None)
    for seconds in every:
        one_by_one.observe(seconds)
    answers = Answers("PUT", "/durations")
    for seconds in every:
        answers.add(200, seconds)
    answers.flush()
    told = metrics.DURATION.labels("PUT", "/durations")
    assert isinstance(told, BulkHistogram)
    expected = [(s.name, s.labels, s.value) for s in one_by_one.collect()[0].samples]
    found = [(f"single{s.name}", s.labels, s.value) for s in told._child_samples()]
    expected = [one for one in expected if not one[0].endswith("_created")]
    assert [one for one in found if not one[0].endswith("_created")] == expected


def test_answers_when_the_method_is_unknown_then_no_label_of_the_clients_making() -> None:
    before = requests(405, "OTHER")
    for method in ("BREW", "PROPFIND"):
        metrics.answers(method, ENDPOINT).add(405, 0.0)
    metrics.flush()
    assert requests(405, "OTHER") - before == 2
    assert len(metrics._answers) == 1


def test_answered_when_there_is_no_loop_then_counted_at_once() -> None:
    before = requests(201, "POST")
    metrics.answered("POST", ENDPOINT, 201, 0.2)
    assert requests(201, "POST") - before == 1


@pytest.mark.parametrize(
    ("route", "label"),
    [
        ("api/v1/bets/<id:bet_id>", "/api/v1/bets/<id:bet_id>"),
        ("^healthz/?$", "/healthz"),
        ("admin/bets/bet/", "/admin/bets/bet"),
        ("", "/"),
    ],
)
def test_template_when_a_route_is_given_then_it_reads_like_a_path(route: str, label: str) -> None:
    assert metrics.template_of(route) == label


async def test_seen_when_answered_then_counted_with_the_endpoint_that_was_found() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"method": "DELETE"}
    before = requests(204, "DELETE")
    seen = Seen(scope, send)
    copied = {**scope}
    copied[metrics.SEEN].endpoint = ENDPOINT
    await seen({"type": "http.response.start", "status": 204})
    await seen({"type": "http.response.body", "body": b""})
    seen.count()
    metrics.flush()
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert requests(204, "DELETE") - before == 1


def test_seen_when_the_client_left_before_the_answer_then_it_says_so() -> None:
    seen = Seen({"method": "GET"}, lambda message: None)
    before = requests(499, endpoint="unrouted")
    seen.count()
    metrics.flush()
    assert requests(499, endpoint="unrouted") - before == 1


def test_peak_when_the_queue_was_fuller_meanwhile_then_that_is_told_and_then_what_is() -> None:
    gauge = Gauge("peak", "", registry=CollectorRegistry())
    peak = Peak(gauge, bound=200)
    for depth in (10, 150, 50):
        peak.note(depth)
    metrics.flush()
    assert gauge._value.get() == 0.75
    metrics.flush()
    assert gauge._value.get() == 0.25


def test_process_when_it_is_over_then_its_live_gauges_go_and_its_counts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gauge_livesum_7.db", "gauge_livemax_7.db", "counter_7.db", "gauge_livesum_8.db"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    metrics.forget_process(7)
    metrics.forget_process(7)
    assert sorted(os.listdir(tmp_path)) == ["counter_7.db", "gauge_livesum_8.db"]


def test_process_when_nothing_is_shared_then_there_is_nothing_to_forget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics.forget_process(7)
