"""What `/metrics` says of the parts between a trader and the ledger: each is brought about."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import httpx
import pytest

from tests import stack
from tests.figures import Figures, all_told, figures, stopped, until, wait_for_part
from tests.outsider import Outsider

pytestmark = pytest.mark.timeout(180)

# So little fits into the queues before and behind the writer's socket.
QUEUES: Final = {"TAP_WRITER_BATCH": "2", "TAP_ENTRY_QUEUE": "4", "TAP_WRITER_QUEUE": "4"}
LIMITS: Final = {"TAP_BET_RATE_PER_S": "10000", "TAP_BET_BURST": "10000", "WEB_WORKERS": "1"}
CROWD: Final = 6
WITHOUT_PRICE_S: Final = 12
REFUSED: Final = 'writer_batches_refused_total{why="database"}'
USED: Final = 'pricefeed_messages_total{source="simulated"}'
USED_AT: Final = 'pricefeed_source_used_timestamp{source="simulated"}'
HEARD_AT: Final = 'pricefeed_source_heard_timestamp_seconds{source="simulated"}'


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    with stack.running(tmp_path_factory.mktemp("platform"), **LIMITS, **QUEUES) as running:
        wait_for_part(running, "--quiet worker")
        running.clock_rate(2)
        yield running


@pytest.fixture
def trader(platform: stack.Stack) -> Outsider:
    made = Outsider(platform.url)
    made.sign_in()
    made.deposit(1_000)
    return made


def test_sockets_when_they_come_and_go_then_counted(
    platform: stack.Stack, trader: Outsider
) -> None:
    lines = [trader.socket() for _ in range(3)]
    until(platform, lambda f: f["websocket_connections"] == 3)
    lines.pop().close()
    until(platform, lambda f: f["websocket_connections"] == 2)
    for line in lines:
        line.close()
    until(platform, lambda f: f["websocket_connections"] == 0)


def test_wallet_when_it_bets_twice_then_it_is_read_once(
    platform: stack.Stack, trader: Outsider
) -> None:
    before = all_told(platform)
    trader.taken(trader.lasting_cell)
    once = all_told(platform)
    assert grown(before, once, "writer_flush_seconds_count") > 0
    assert grown(before, once, "wallet_facts_reads_total") == 1
    assert grown(before, once, 'wallet_cache_lookups_total{found="no"}') == 1
    # Those that found something are told by the thousand.
    trader.taken(trader.lasting_cell)
    assert grown(once, all_told(platform), "wallet_facts_reads_total") == 0


def test_prices_when_several_ask_at_once_then_they_are_read_once(platform: stack.Stack) -> None:
    def asked_and_told(_: Figures) -> Figures:
        with ThreadPoolExecutor(CROWD) as pool:
            answers = list(pool.map(httpx.get, [platform.url + "/api/v1/prices"] * CROWD))
        assert {answer.status_code for answer in answers} == {200}
        return figures(platform)

    before = figures(platform)
    for found in ("no", "yes"):
        name = f'cache_lookups_total{{cache="prices",found="{found}"}}'
        until(platform, lambda f, name=name: grown(before, asked_and_told(f), name) > 0)  # type: ignore[misc]


def test_hub_when_valkey_was_away_then_messages_may_have_been_missed(
    platform: stack.Stack,
) -> None:
    before = figures(platform)
    os.kill(platform.pid_of("valkey-server"), signal.SIGKILL)
    until(platform, lambda f: grown(before, f, "hub_gaps_total") > 0)
    until(platform, lambda f: f['dependency_up{dependency="redis"}'] == 1)


def test_source_when_the_feed_stands_still_then_it_is_not_heard_and_marks_pass_without_a_price(
    platform: stack.Stack,
) -> None:
    flowing = figures(platform)
    until(platform, lambda f: min(grown(flowing, f, name) for name in (USED, USED_AT)) > 0)
    with stopped(platform, "run_pricefeed"):
        still = all_told(platform)
        ends = time.monotonic() + WITHOUT_PRICE_S / 2  # the clock's rate is 2
        until(platform, lambda _: time.monotonic() > ends)
        silent = figures(platform)
        assert [grown(still, silent, name) for name in (USED, USED_AT, HEARD_AT)] == [0, 0, 0]
    again = until(platform, lambda f: grown(silent, f, "pricefeed_missed_marks_total") > 0)
    # Ten seconds of this source's prices can be made up.
    assert grown(silent, again, "pricefeed_missed_marks_total") >= 10
    until(platform, lambda f: min(grown(silent, f, name) for name in (USED, USED_AT, HEARD_AT)) > 0)


@contextmanager
def locked(platform: stack.Stack, name: str) -> Iterator[None]:
    """A database of the platform is held by a transaction of somebody else's."""
    file = platform.folder / "data" / name
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_writer_when_somebody_holds_the_ledger_then_it_is_busy_and_refuses_and_bets_wait(
    platform: stack.Stack, trader: Outsider
) -> None:
    before = figures(platform)
    over = threading.Event()
    statuses: set[int] = set()

    def keep_asking() -> None:
        while not over.is_set():
            statuses.add(trader.place(trader.bet(cell, min_rate_bps=10_100)).status_code)

    cell = trader.lasting_cell()
    with ThreadPoolExecutor(CROWD) as pool, locked(platform, "taptrading.sqlite3"):
        asking = [pool.submit(keep_asking) for _ in range(CROWD)]
        try:
            until(platform, lambda f: f["entry_queue_depth"] > 0)
            until(platform, lambda f: grown(before, f, "writer_busy_total") > 0)
            until(platform, lambda f: grown(before, f, REFUSED) > 0)
        finally:
            over.set()
        for asked in asking:
            asked.result()
    assert 503 in statuses
    until(platform, lambda f: f["entry_queue_depth"] == f["writer_queue_depth"] == 0)


def test_recorder_when_somebody_holds_the_prices_then_ticks_fail_to_be_recorded(
    platform: stack.Stack,
) -> None:
    before = figures(platform)
    with locked(platform, "prices.sqlite3"):
        until(platform, lambda f: grown(before, f, "pricefeed_record_failures_total") > 0)
    after = figures(platform)
    until(platform, lambda f: grown(after, f, "pricefeed_ticks_total") > 0)


def grown(before: Figures, after: Figures, name: str) -> float:
    """A figure with a label is not there until it has first been counted, as just after a start."""
    return after.get(name, 0.0) - before.get(name, 0.0)
