"""Each alert by a real Prometheus that watches a real platform: its condition is brought about, and
it fires. The rules are those of deploy/prometheus but for how long a condition has to last, which
promtool's tests hold."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from taptrading.clock import write_shared_clock
from taptrading.limits import LIMITS, MIB
from tests import stack
from tests.figures import stopped, wait_for_part
from tests.integration.ops.test_alerts import RULES, rules
from tests.outsider import Outsider
from tests.servers import short_folder
from tests.small_disk import fill, small_disk

pytestmark = pytest.mark.timeout(240)

SETTINGS: Final = {
    "TAP_BET_RATE_PER_S": "10000",
    "TAP_BET_BURST": "10000",
    "WEB_WORKERS": "1",
    "TAP_WRITER_BATCH": "2",
    "TAP_ENTRY_QUEUE": "4",
    "TAP_DISK_KEEP_FREE_BYTES": str(4 * MIB),  # for logs that grow: this disk is smaller than it is
}
DISK_MIB: Final = 256
# With its writer hanging, the platform answers within two seconds and a half.
SCRAPED: Final = {"scrape_interval": "3s", "evaluation_interval": "1s"}
PATIENCE_S: Final = 100
CROWD: Final = 12
SETTLING_RATE: Final = 20.0
LONG_AGO_S: Final = 9 * 86_400
# What tells when it was last done, as of then.
DONE_LONG_AGO: Final = """
from ops import tasks
from ops.archive import status
from taptrading import clock
from wallet.models import ArchiveRun

assert tasks.verify_ledger()
assert tasks.reconcile_custody()
assert tasks.backup()
assert tasks.restore_drill()
tasks.tell_backups()
ArchiveRun.objects.create(started_at=clock.now(), finished_at=clock.now(), segments=0)
status.tell()
"""


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def asked(self, path: str, **params: str) -> Any:
        reply = httpx.get(f"{self._url}/api/v1/{path}", params=params, timeout=10)
        return reply.raise_for_status().json()["data"]

    def firing(self) -> set[str]:
        alerts = self.asked("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def until(self, reached: Callable[[set[str]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached(firing := self.firing()):
            assert time.monotonic() < deadline, firing
            time.sleep(0.2)

    def until_firing(self, *names: str) -> None:
        self.until(lambda firing: set(names) <= firing)

    def until_silent(self, *names: str) -> None:
        self.until(lambda firing: not set(names) & firing)


@pytest.fixture(scope="module")
def platform() -> Iterator[stack.Stack]:
    with (
        short_folder() as folder,
        small_disk(folder / "data", mib=DISK_MIB),
        stack.running(folder, **SETTINGS) as running,
    ):
        wait_for_part(running, "--quiet worker")
        yield running


@pytest.fixture(scope="module")
def prometheus(
    platform: stack.Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    port = stack.free_port()
    with watching(folder, platform.domain, port):
        made = Prometheus(f"http://127.0.0.1:{port}")
        until_up(made)
        assert made.firing() == set()  # a platform that is well
        yield made


@contextmanager
def watching(folder: Path, target: str, port: int) -> Iterator[None]:
    server = shutil.which("prometheus")
    if server is None:
        missing = "prometheus is not there: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    config = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    config["global"] |= SCRAPED
    config["scrape_configs"][0] |= {"scrape_timeout": SCRAPED["scrape_interval"]}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shortened = re.sub(r"^( +for:) .*$", r"\1 1s", RULES.read_text(), flags=re.MULTILINE)
    (folder / RULES.name).write_text(shortened)
    options = [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, *options], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def until_up(made: Prometheus) -> None:
    """It watches, and has seen the platform twice."""
    deadline = time.monotonic() + PATIENCE_S
    count = "min(count_over_time(up[1m]) and on() up == 1)"
    while True:
        try:
            found = made.asked("query", query=count)["result"]
        except httpx.HTTPError:  # it does not listen yet, or says 503
            found = []
        if found and int(found[0]["value"][1]) >= 2:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.fixture
def trader(platform: stack.Stack) -> Outsider:
    made = Outsider(platform.url)
    made.sign_in()
    made.deposit(1_000)
    return made


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("uvicorn", ["PlatformDown"]),
        ("run_writer", ["WriterDown"]),
        ("valkey-server", ["DependencyDown"]),
        ("run_pricefeed", ["PriceFeedStale", "CircuitBreakerOpen"]),
    ],
)
def test_alert_when_a_part_hangs_then_it_fires_until_the_part_is_back(
    platform: stack.Stack, prometheus: Prometheus, part: str, names: list[str]
) -> None:
    with stopped(platform, part):
        prometheus.until_firing(*names)
    prometheus.until_silent(*names)


def test_alerts_when_bets_meet_a_stuck_writer_then_late_refused_and_turned_away(
    platform: stack.Stack, prometheus: Prometheus, trader: Outsider
) -> None:
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            # Another one each time: on a cell that has locked all are refused at once. And not too
            # often: those that are turned away at once must not hide the few that wait.
            trader.place(trader.bet(trader.lasting_cell()))
            time.sleep(0.5)

    with ThreadPoolExecutor(CROWD) as pool, stopped(platform, "run_writer"):
        asking = [pool.submit(keep_asking) for _ in range(CROWD)]
        try:
            prometheus.until_firing("QueueBackpressure", "HighErrorRate", "HighLatency")
        finally:
            over.set()
        for asked in asking:
            asked.result()


def test_alert_when_nobody_settles_then_it_fires_until_somebody_does(
    platform: stack.Stack, prometheus: Prometheus, trader: Outsider
) -> None:
    with stopped(platform, "--quiet worker"):
        trader.taken(trader.lasting_cell)
        platform.clock_rate(SETTLING_RATE)
        try:
            prometheus.until_firing("SettlementLag")
        finally:
            platform.clock_rate(1)
    prometheus.until_silent("SettlementLag")


def test_alert_when_somebody_tries_signatures_then_it_fires(
    prometheus: Prometheus, trader: Outsider
) -> None:
    body = trader.bet(trader.lasting_cell())
    for number in range(20):
        forged = {**body, "signature": f"0x{number + 1:064x}" + "11" * 32 + "1b"}
        assert trader.place(forged).json()["error"] == "bad_signature"
    prometheus.until_firing("SecurityEvents")


def test_alerts_when_the_disk_fills_then_early_and_urgently(
    platform: stack.Stack, prometheus: Prometheus
) -> None:
    data = platform.folder / "data"
    try:
        fill(data, LIMITS.disk_warn_pct + 1.0)
        prometheus.until_firing("DiskFilling")
        fill(data, 87.0)
        prometheus.until_firing("DiskSpaceLow")
    finally:
        fill(data, 0)
    prometheus.until_silent("DiskFilling", "DiskSpaceLow")


@contextmanager
def changed(platform: stack.Stack, statement: str) -> Iterator[None]:
    """What no code of ours would do: `statement` adds to a sum, and is taken back."""
    for by_micros in (1, -1):
        file = platform.folder / "data/taptrading.sqlite3"
        with closing(sqlite3.connect(file)) as database, database:
            assert database.execute(statement, [by_micros]).rowcount == 1
        if by_micros == 1:
            yield


@pytest.mark.parametrize(
    ("name", "statement", "task"),
    [
        (
            "LedgerDrift",
            "UPDATE wallet_wallet SET balance_micros = balance_micros + ? WHERE id ="
            " (SELECT max(id) FROM wallet_wallet WHERE kind = 'player')",
            "verify_ledger",
        ),
        (
            "CustodyMismatch",
            "UPDATE wallet_localtransfer SET amount_micros = amount_micros + ? WHERE id ="
            " (SELECT max(id) FROM wallet_localtransfer)",
            "reconcile_custody",
        ),
    ],
)
def test_alert_when_the_books_do_not_agree_then_it_fires_until_they_do(
    *, platform: stack.Stack, prometheus: Prometheus, trader: Outsider,
    name: str, statement: str, task: str,
) -> None:  # fmt: skip
    del trader  # who is the last to have come
    checked = f"from taptrading.celery import app; app.send_task('ops.{task}')"
    with changed(platform, statement):
        platform.manage("shell", "-c", checked)
        prometheus.until_firing(name)
    platform.manage("shell", "-c", checked)
    prometheus.until_silent(name)


def test_alerts_when_what_the_clock_should_do_was_last_done_long_ago_then_each_fires(
    platform: stack.Stack, prometheus: Prometheus, tmp_path: Path
) -> None:
    write_shared_clock(tmp_path / "clock", now_us=(time.time_ns() // 1_000) - LONG_AGO_S * 10**6)
    data = platform.folder / "data"
    environment = SETTINGS | {
        "DATA_DIR": str(data),
        "CLOCK_FILE": str(tmp_path / "clock"),
        "PROMETHEUS_MULTIPROC_DIR": str(data / "run" / "metrics"),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", DONE_LONG_AGO],
        cwd=stack.ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("COV")} | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    prometheus.until_firing(
        *("IntegrityCheckStale", "ReconciliationStale", "ArchiveStale"),
        *("BackupStale", "RestoreDrillStale"),
    )


def test_alerts_when_there_is_one_then_it_is_made_to_fire_here() -> None:
    text = Path(__file__).read_text()
    assert [rule["alert"] for rule in rules() if f'"{rule["alert"]}"' not in text] == []
