"""Valkey goes away, or forgets; the database files are locked by somebody else."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pysqlite3 as sqlite3
import pytest
import redis

from taptrading.limits import LIMITS
from tests import stack
from tests.bank.house import SETTINGS
from tests.failures.crowd import Crowd
from tests.servers import Cable, Valkey, short_folder, valkey_server

pytestmark = pytest.mark.timeout(240)
RATE = 4.0
BATCH_S = LIMITS.writer_batch_ms / 1_000
BETS = "SELECT count(*) FROM bets_bet"
UNPRICED = f"{BETS} WHERE status = 'rejected' AND reason = 'price_stale' AND pricing_tick IS NULL"
VOID = f"{BETS} WHERE status = 'void'"
AHEAD = (
    "SELECT count(DISTINCT column_start) FROM bets_bet"
    " WHERE status = 'confirmed' AND column_start > {now_s}"
)
# At this rate a price is stale after a quarter of a second, which a busy machine may take.
HEALED = {"accepted", "cell_taken", "cell_locked", "cell_off_grid", "rate_moved", "price_stale"}


class House:
    def __init__(self, running: stack.Stack, valkey: Valkey, cable: Cable) -> None:
        self.running = running
        self.valkey = valkey
        self.cable = cable

    def check(self, name: str) -> dict[str, Any]:
        """One of `/healthz`."""
        found: dict[str, Any] = httpx.get(self.running.url + "/healthz", timeout=10).json()
        return dict(found["checks"][name])

    def reads(self) -> dict[str, int]:
        """The status of what needs neither Valkey nor the writer."""
        paths = ("config", "status", "price", "grid")
        return {path: httpx.get(f"{self.running.url}/api/v1/{path}").status_code for path in paths}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with (
        short_folder() as folder,
        valkey_server(folder, keeps_data=True) as valkey,
        Cable(valkey.socket, folder / "cable.sock").laid() as cable,
        stack.running(folder, REDIS_URL=cable.url, **SETTINGS) as running,
    ):
        running.clock_rate(RATE)
        yield House(running, valkey, cable)


@pytest.fixture(scope="module")
def at_work(house: House) -> Iterator[Crowd]:
    with Crowd(house.running).betting() as betting:
        yield betting
    betting.reckon()


@pytest.fixture
def crowd(at_work: Crowd) -> Crowd:
    """The module's crowd, once its bets are taken again."""
    at_work.hears("accepted")
    return at_work


def assert_valkey_is_back(house: House, crowd: Crowd) -> None:
    crowd.hears("accepted", times=20)
    crowd.until(lambda: house.check("redis")["status"] == "ok", "health does not see it come back")
    since = len(crowd.words)
    crowd.hears("accepted", times=30)
    assert set(crowd.counts(since)) <= HEALED


@pytest.mark.parametrize("data", ["kept", "lost"])
def test_valkey_when_stopped_then_bets_are_refused_and_all_comes_back_by_itself(
    house: House, crowd: Crowd, data: str
) -> None:
    house.valkey.stop()
    try:
        refused = crowd.hears("dependency_unavailable", times=20)
        assert refused.answer is not None
        assert house.check("redis")["status"] == "down"
        assert set(house.reads().values()) == {200}
        if data == "lost":
            shutil.rmtree(house.valkey.folder / "appendonlydir")
    finally:
        house.valkey.start()

    assert_valkey_is_back(house, crowd)


@pytest.mark.parametrize("ways", [("there", "back"), ("back",)], ids="_".join)
def test_valkey_when_cut_off_then_bets_are_refused_and_all_comes_back_by_itself(
    house: House, crowd: Crowd, ways: tuple[str, ...]
) -> None:
    """Nobody hears an end: neither of a connection, nor of what was asked. With the way back cut
    alone, what it was asked is done, and nobody knows."""
    house.cable.cut(*ways)
    try:
        crowd.hears("dependency_unavailable", times=20)
        crowd.until(lambda: house.check("redis")["status"] == "down", "health does not see it")
        assert set(house.reads().values()) == {200}
    finally:
        house.cable.heal()

    assert_valkey_is_back(house, crowd)


def test_valkey_when_emptied_then_what_it_knew_is_there_again(house: House, crowd: Crowd) -> None:
    with redis.Redis.from_url(house.valkey.url) as client:
        client.flushall()
        crowd.hears("accepted", times=30)
        crowd.until(lambda: client.hlen("tap:balances") >= 16, "the balances are not told again")
        crowd.until(lambda: client.exists("tap:feed", "tap:exposure") == 2, "no present")


@contextmanager
def locked(file: Path, mode: str = "IMMEDIATE") -> Iterator[None]:
    """Held by a transaction of somebody else's."""
    connection: Any = sqlite3.connect(file, timeout=30, isolation_level=None)
    try:
        connection.execute(f"BEGIN {mode}")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("seconds", "mode"), [(1, "EXCLUSIVE"), (4, "IMMEDIATE"), (10, "IMMEDIATE")]
)
def test_ledger_when_locked_then_bets_wait_three_seconds_and_are_refused_whole(
    house: House, crowd: Crowd, seconds: int, mode: str
) -> None:
    with locked(crowd.house.database_file, mode):
        since = len(crowd.words)
        before = crowd.count(BETS)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            assert set(house.reads().values()) == {200}
            time.sleep(0.05)
        assert crowd.count(BETS) == before
        refused = len(crowd.said("dependency_unavailable", since=since))

    crowd.hears("accepted", times=30)
    waited = max(word.took_s for word in crowd.words[since:])
    assert (refused > 0) == (seconds > BATCH_S)
    # So long at most on the way to the writer, behind what is under way, and so long there.
    assert min(seconds, BATCH_S) - 0.3 < waited < 2 * BATCH_S + 1.5
    assert crowd.counts(since)["outcome_unknown"] == 0


def test_prices_when_locked_then_bets_stop_and_columns_without_a_price_are_void(
    house: House, crowd: Crowd
) -> None:
    # The gap will lie in some of the next columns, whichever: there are bets on most.
    crowd.until(
        lambda: crowd.count(AHEAD.format(now_s=crowd.house.now_s())) >= 8, "few columns have bets"
    )
    unpriced, void = crowd.count(UNPRICED), crowd.count(VOID)
    with locked(crowd.house.prices_file):
        since = len(crowd.words)
        crowd.hears("price_stale", since=since)
        crowd.until(
            lambda: crowd.count(UNPRICED) > unpriced, "no bet is refunded for want of a tick"
        )
        crowd.hears("breaker_open", since=since)
        # Longer than what the feed makes up.
        crowd.until(lambda: house.check("price_feed")["stale_for_ms"] > 30_000, "a young price")
        assert house.check("price_feed")["status"] == "down"
        assert house.check("circuit_breaker")["status"] == "open"

    crowd.hears("accepted", times=10)
    crowd.until(lambda: crowd.count(VOID) > void, "no bet on a column with a gap is void")
    assert house.check("price_feed")["status"] == "ok"
