"""What `/metrics` and the log say of a real platform while things happen to it, and that the
dashboard and the alerts ask for nothing that it does not say."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests import stack
from tests.figures import Figures, figures, stopped, until, wait_for_part
from tests.outsider import Outsider

pytestmark = pytest.mark.timeout(180)

# Set once a task has run for the first time, by the clock: there are no figures before.
BY_THE_CLOCK: Final = {
    "ledger_findings",
    "last_successful_integrity_check_timestamp",
    "integrity_check_seconds",
    "last_successful_archive_timestamp",
    "custody_mismatch_micros",
    "last_custody_reconciliation_timestamp",
    "last_successful_backup_timestamp",
    "last_successful_restore_drill_timestamp",
    "restore_drill_seconds",
    "disk_days_left",
    "projected_disk_used_ratio",
}
# So few fit into the entry's queue and its batches under way.
QUEUE: Final = {"TAP_WRITER_BATCH": "2", "TAP_ENTRY_QUEUE": "4"}
CROWD: Final = 40
# What bets are counted in, and how late that may be told.
OURS: Final = (
    *("bets_", "house_", "security_events_total"),
    'http_requests_total{endpoint="/api/v1/bets"',
)
TOLD_S: Final = 1.5
LOGS: Final = {"LOG_FORMAT": "json", "BET_LOG": "1"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    folder = tmp_path_factory.mktemp("platform")
    limits = {"TAP_BET_RATE_PER_S": "10000", "TAP_BET_BURST": "10000", "WEB_WORKERS": "1"}
    with stack.running(folder, **limits, **QUEUE, **LOGS) as running:
        wait_for_part(running, "--quiet worker")
        running.clock_rate(4)
        yield running


@pytest.fixture
def trader(platform: stack.Stack) -> Outsider:
    made = Outsider(platform.url)
    made.sign_in()
    made.deposit(1_000)
    return made


def figures_at_rest(platform: stack.Stack) -> Figures:
    """Once all that earlier tests did is over and told."""
    deadline = time.monotonic() + 30
    found, since = figures(platform), time.monotonic()
    while time.monotonic() < since + TOLD_S:
        time.sleep(0.1)
        before, found = found, figures(platform)
        changed = any(before[name] != found[name] for name in before if name.startswith(OURS))
        if changed or found["house_liability_micros"] > 0:
            since = time.monotonic()
        assert time.monotonic() < deadline, found
    return found


def placed(found: Figures, status: str) -> float:
    return found[f'bets_placed_total{{status="{status}"}}']


def answered(found: Figures, status: int) -> float:
    labels = f'endpoint="/api/v1/bets",method="POST",status="{status}"'
    return found.get(f"http_requests_total{{{labels}}}", 0.0)


def resolved(found: Figures) -> float:
    return sum(value for name, value in found.items() if name.startswith("bets_resolved_total{"))


def test_bets_when_placed_then_counted_until_they_are_resolved(
    platform: stack.Stack, trader: Outsider
) -> None:
    confirmed = False
    while not confirmed:  # in vain only where the machine was too busy
        trader.taken(trader.lasting_cell)  # prices are fresh
        before = figures_at_rest(platform)
        bodies = [trader.bet(trader.lasting_cell(), min_rate_bps=10_100) for _ in range(2)]
        bodies[1]["signature"] = "0x" + "11" * 64 + "1b"
        first, second = (trader.place(body) for body in bodies)
        assert second.status_code == 401
        confirmed = first.status_code == 202 and trader.priced(first.json()["bet_id"]) != "rejected"
    found = until(platform, lambda f: placed(f, "confirmed") > placed(before, "confirmed"))
    assert placed(found, "accepted") - placed(before, "accepted") == 1
    found = until(platform, lambda f: f["house_liability_micros"] > 0)
    # What it began with, but for what earlier bets of this platform have won and lost.
    assert abs(found["house_balance_micros"] - 10_000_000_000_000) < 10_000_000_000
    seen = until(platform, lambda f: answered(f, 401) > answered(before, 401))
    assert answered(seen, 202) - answered(before, 202) == 1
    assert placed(seen, "rejected") - placed(before, "rejected") == 1
    buckets = (
        'http_request_duration_seconds_bucket{endpoint="/api/v1/bets",le="+Inf",method="POST"}'
    )
    assert seen[buckets] - before.get(buckets, 0.0) == 2
    over = until(platform, lambda f: resolved(f) > resolved(before))
    staked = over["bets_staked_micros_total"] - before["bets_staked_micros_total"]
    paid = over["bets_paid_micros_total"] - before["bets_paid_micros_total"]
    assert staked == 5_000_000
    assert over["house_profit_micros"] - before["house_profit_micros"] == staked - paid


def test_labels_when_clients_ask_for_anything_then_an_endpoint_is_a_route(
    platform: stack.Stack, trader: Outsider
) -> None:
    for path in ("nonsense-1", "bets/4711?x=nonsense-2", "by-nonce/nonsense-3", "bets/nonsense-4/"):
        trader.http.get(path)
    trader.http.request("PROPFIND", "wallet")
    httpx.get(platform.url + "/static/nonsense-5.js")
    found = until(platform, lambda f: any('endpoint="/static/<file>"' in name for name in f))
    told = "\n".join(found)
    assert 'endpoint="/api/v1/bets/<id:bet_id>",method="GET"' in told
    assert 'endpoint="unrouted",method="GET",status="404"' in told
    assert 'method="OTHER"' in told
    assert "nonsense" not in told.lower()
    assert "4711" not in told


def test_settlement_lag_when_nobody_settles_then_it_grows_and_goes_again(
    platform: stack.Stack, trader: Outsider
) -> None:
    def soon() -> dict[str, Any]:
        cells = trader.cells()
        first = min(int(cell["cell_id"].split("_")[0]) for cell in cells)
        return next(cell for cell in cells if int(cell["cell_id"].split("_")[0]) <= first + 5)

    with stopped(platform, "--quiet worker"):
        trader.taken(soon)
        lagging = until(platform, lambda f: f["settlement_lag_seconds"] > 5)
        assert lagging["settlement_lag_seconds"] < 60
    until(platform, lambda f: f["settlement_lag_seconds"] == 0)


def test_prices_when_the_feed_stands_still_then_they_grow_old_and_the_breaker_opens(
    platform: stack.Stack,
) -> None:
    until(platform, lambda f: f["price_feed_staleness_seconds"] < 3)
    with stopped(platform, "run_pricefeed"):
        stale = until(platform, lambda f: f["price_feed_staleness_seconds"] > 3)
        until(platform, lambda f: f["circuit_breaker_state"] == 1)
        assert stale["price_feed_staleness_seconds"] < 60
    until(platform, lambda f: f["circuit_breaker_state"] == 0)


def health(platform: stack.Stack, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
    reply = httpx.get(platform.url + path, timeout=10)
    return reply.status_code, reply.json()


def until_health(platform: stack.Stack, well: Callable[[int, dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + 30
    while not well(*(found := health(platform))):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_health_when_valkey_hangs_then_said_at_once_however_many_ask_and_well_again(
    platform: stack.Stack, trader: Outsider
) -> None:
    until_health(platform, lambda status, _: status == 200)
    cell = trader.lasting_cell()
    with stopped(platform, "valkey-server"):
        until_health(platform, lambda _, found: found["checks"]["redis"]["status"] == "down")
        began = time.monotonic()
        with ThreadPoolExecutor(40) as pool:  # ten times the threads that answer
            asked = list(pool.map(lambda _: health(platform), range(120)))
        # Who asks does not wait for Redis: one of them does, a second each time, for all.
        reports = {found["timestamp"] for _, found in asked}
        assert len(reports) <= time.monotonic() - began + 2
        assert {status for status, _ in asked} == {503}
        assert health(platform, "/health/readiness") == (503, {"ready": False})
        assert health(platform, "/health/liveness") == (200, {"alive": True})
        assert trader.place(trader.bet(cell)).status_code == 503
        assert figures(platform)['dependency_up{dependency="redis"}'] == 0
    until_health(platform, lambda status, _: status == 200)
    assert health(platform, "/health/readiness") == (200, {"ready": True})


def test_health_when_the_feed_hangs_then_the_price_feed_is_down_and_the_process_is_ready(
    platform: stack.Stack,
) -> None:
    with stopped(platform, "run_pricefeed"):
        until_health(platform, lambda _, found: found["checks"]["price_feed"]["status"] == "down")
        status, found = health(platform)
        assert (status, found["checks"]["circuit_breaker"]) == (503, {"status": "open"})
        assert found["checks"]["price_feed"]["stale_for_ms"] > 10_000
        assert health(platform, "/health/readiness")[0] == 200
    until_health(platform, lambda status, found: (status, found["status"]) == (200, "ok"))


def test_health_when_the_writer_hangs_then_it_is_down_and_the_process_not_ready(
    platform: stack.Stack,
) -> None:
    with stopped(platform, "run_writer"):
        until_health(platform, lambda _, found: found["checks"]["writer"]["status"] == "down")
        assert health(platform, "/health/readiness") == (503, {"ready": False})
        assert health(platform, "/health") == (200, {"status": "ok"})
    until_health(platform, lambda status, _: status == 200)


def test_queue_when_the_writer_is_stuck_then_it_fills_and_turns_bets_away(
    platform: stack.Stack, trader: Outsider
) -> None:
    before = figures_at_rest(platform)
    cell = trader.lasting_cell()
    bodies = [trader.bet(cell, min_rate_bps=10_100) for _ in range(CROWD)]
    with ThreadPoolExecutor(CROWD) as pool:
        with stopped(platform, "run_writer"):
            asking = [pool.submit(httpx.post, f"{platform.url}/api/v1/bets", json=body, timeout=20)
                      for body in bodies]  # fmt: skip
            until(platform, lambda f: f["entry_queue_use_ratio"] == 1)
            until(platform, lambda f: f['dependency_up{dependency="writer"}'] == 0)
        statuses = [asked.result().status_code for asked in asking]
    assert 503 in statuses
    after = until(platform, lambda f: f['dependency_up{dependency="writer"}'] == 1)
    assert after["entry_queue_full_total"] > before["entry_queue_full_total"]
    until(platform, lambda f: answered(f, 503) - answered(before, 503) == statuses.count(503))
    until(platform, lambda f: f["entry_queue_use_ratio"] == 0)


def test_writer_when_it_is_killed_then_seen_and_its_gauges_go_with_it(
    platform: stack.Stack, trader: Outsider
) -> None:
    before = figures_at_rest(platform)
    killed = platform.pid_of("run_writer")
    folder = Path(platform.folder / "data" / "run" / "metrics")
    live = f"gauge_live*_{killed}.db"
    assert list(folder.glob(live))
    os.kill(killed, signal.SIGKILL)
    down = until(platform, lambda f: f['dependency_up{dependency="writer"}'] == 0)
    assert placed(down, "accepted") == placed(before, "accepted")
    until(platform, lambda f: f['dependency_up{dependency="writer"}'] == 1)
    assert not list(folder.glob(live))
    trader.taken(trader.lasting_cell)
    until(platform, lambda f: placed(f, "accepted") > placed(before, "accepted"))


def test_security_when_one_client_tries_signatures_then_it_is_an_event(
    platform: stack.Stack, trader: Outsider
) -> None:
    name = 'security_events_total{kind="bad_signatures"}'
    before = figures_at_rest(platform)[name]
    body = trader.bet(trader.lasting_cell())
    for number in range(20):
        forged = {**body, "signature": f"0x{number + 1:064x}" + "11" * 32 + "1b"}
        assert trader.place(forged).json()["error"] == "bad_signature"
    found = until(platform, lambda f: f[name] > before)
    assert found[name] == before + 1


def test_security_when_an_operator_overrules_the_breaker_then_it_is_an_event(
    platform: stack.Stack,
) -> None:
    name = 'security_events_total{kind="breaker_override"}'
    before = figures_at_rest(platform)[name]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    settings = {
        "DATA_DIR": str(platform.folder / "data"),
        "CLOCK_FILE": str(platform.folder / "clock"),
    }
    for words in (["open", "--reason", "drill"], ["auto", "--reason", "over"]):
        subprocess.run(
            [sys.executable, "manage.py", "breaker", *words],
            cwd=stack.ROOT,
            env=environment | settings,
            capture_output=True,
            timeout=60,
            check=True,
        )
    until(platform, lambda f: f[name] == before + 2)


Entries = list[dict[str, Any]]


def log_of(platform: stack.Stack) -> str:
    return (platform.folder / "data" / "log" / "platform.log").read_text()


def until_said(platform: stack.Stack, event: str, bet_id: str) -> None:
    """A line about this event names this bet."""
    deadline = time.monotonic() + 30
    while not any(bet_id in word for word in words(entries(platform), event)):
        assert time.monotonic() < deadline, (event, log_of(platform)[-4_000:])
        time.sleep(0.1)


def entries(platform: stack.Stack) -> Entries:
    """Every line is JSON, whoever said it."""
    return [json.loads(line) for line in log_of(platform).splitlines()]


def words(found: Entries, event: str) -> list[str]:
    return [word for entry in found if entry["event"] == event for word in entry["bets"]]


def test_log_when_a_round_is_played_then_each_decision_can_be_followed_and_no_secret_is_told(
    platform: stack.Stack,
) -> None:
    trader = Outsider(platform.url)
    signed_in = trader.sign_in()
    trader.deposit(100)
    line = trader.socket()
    line.send(op="subscribe", channels=["bets"])

    def asked(
        number: int, rate_bps: int = 10_100, **forged: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        trader.http.headers["X-Request-ID"] = f"round-{number}"
        body, reply = trader.judged(
            lambda: trader.bet(trader.lasting_cell(), min_rate_bps=rate_bps) | forged
        )
        return body, reply.json()

    taken, answer = asked(1)
    while trader.priced(bet_id := answer["bet_id"]) == "rejected":  # the machine was too busy
        taken, answer = asked(1)
    refused, answer = asked(2, rate_bps=199_000)
    assert answer["error"] == "rate_moved"
    forged, answer = asked(3, signature="0x" + "1f" * 64 + "1b")
    assert answer["error"] == "bad_signature"
    trader.http.headers["X-Request-ID"] = "round-4"
    withdrawal_id = trader.withdraw(1_000_000)["withdrawal_id"]
    until_said(platform, "bets resolved", bet_id)

    found = entries(platform)
    decided = words(found, "bets decided")
    assert {f"round-1 {bet_id}", "round-2 rate_moved", "round-3 bad_signature"} <= set(decided)
    assert any(word.startswith(f"{bet_id} ") for word in words(found, "bets confirmed"))
    committed = [entry for entry in found if entry["event"] == "committed"]
    stake = next(e for e in trader.ledger() if e["reference"] == f"bet:{bet_id}")
    entry_id = int(stake["entry_id"])
    batches = [(int(entry["first_entry"]), int(entry["last_entry"])) for entry in committed]
    assert sum(first <= entry_id <= last for first, last in batches) == 1
    moved = [word for entry in committed for word in entry["moved"]]
    assert any(word.endswith(f" HOLD withdrawal:{withdrawal_id}") for word in moved)
    commanded = [entry for entry in found if entry["event"] == "commanded"]
    assert any(entry.get("request_id") == "round-4" for entry in commanded)
    assert {"web", "writer", "platform", "worker"} <= {entry["part"] for entry in found}
    text = log_of(platform).lower()
    secrets = [signed_in["token"], trader.address, trader.address.removeprefix("0x")]
    secrets += [body["signature"].removeprefix("0x") for body in (taken, refused, forged)]
    assert not [secret for secret in secrets if secret.lower() in text]


def names_in(expression: str) -> set[str]:
    """The metrics of an expression in Prometheus' language."""
    plain = re.sub(r'"[^"]*"|\b(?:by|on)\s*\([^)]*\)|\[[^\]]*\]', "", expression)
    return {name for name in re.findall(r"[a-z][a-z_]+", plain) if "_" in name} - {
        "histogram_quantile",
        "absent_over_time",
    }


def asked_for() -> set[str]:
    alerts = yaml.safe_load((stack.ROOT / "deploy/prometheus/alerts.yml").read_text())
    board = json.loads((stack.ROOT / "deploy/grafana/taptrading.json").read_text())
    expressions = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    for panel in board["panels"]:
        expressions += [target["expr"] for target in panel.get("targets", [])]
    return {name for expression in expressions for name in names_in(expression)}


def test_names_when_dashboard_and_alerts_ask_for_them_then_the_platform_has_them(
    platform: stack.Stack,
) -> None:
    httpx.get(platform.url + "/api/v1/config")  # a platform nobody has asked counts no request
    until(platform, lambda f: any(name.startswith("http_requests_total{") for name in f))
    text = httpx.get(platform.url + "/metrics").text
    families = list(text_string_to_metric_families(text))
    told = {sample.name for family in families for sample in family.samples}
    asked = asked_for()
    assert len(asked) > 40
    assert "house_balance_micros" in asked
    assert asked - told - BY_THE_CLOCK == set()
    assert len(families) == len({family.name for family in families})
