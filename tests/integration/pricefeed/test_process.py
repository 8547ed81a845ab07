"""`manage.py run_pricefeed` as a process: starts, publishes, survives kill -9, stops cleanly."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pysqlite3
import pytest
import redis
from django.conf import settings

from pricefeed.board import FEED_KEY, FeedState, decode
from tests.servers import Valkey, valkey_server

MANAGE = Path(settings.BASE_DIR) / "manage.py"


class FeedProcess:
    def __init__(self, folder: Path, valkey: Valkey) -> None:
        self.valkey = valkey
        self.database = folder / "prices.sqlite3"
        self.environment = {
            **os.environ,
            "DATA_DIR": str(folder),
            "REDIS_URL": valkey.url,
            "PRICE_SOURCES": "simulated",
            "CLOCK_FILE": "",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def migrate(self) -> None:
        self._command("migrate", "--skip-checks", "-v0").wait(60)

    def start(self) -> None:
        self.process = self._command("run_pricefeed")

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def published(self) -> FeedState | None:
        with redis.Redis.from_url(self.valkey.url) as client:
            payload = client.get(FEED_KEY)
        return decode(payload) if isinstance(payload, bytes) else None

    def seq(self) -> int:
        state = self.published()
        return state.tick.seq if state and state.tick else 0

    def ticks(self) -> list[tuple[int, int]]:
        with pysqlite3.connect(self.database) as connection:
            rows = connection.execute("SELECT seq, at FROM pricefeed_tick ORDER BY seq").fetchall()
        return [(seq, at) for seq, at in rows]

    def _command(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, str(MANAGE), *words], env=self.environment)


def wait_for(reached: Callable[[], bool], seconds: float = 30) -> None:
    end = monotonic() + seconds
    while not reached():
        assert monotonic() < end, "it did not happen in time"
        sleep(0.05)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[FeedProcess]:
    with valkey_server(tmp_path) as valkey:
        feed = FeedProcess(tmp_path, valkey)
        feed.migrate()
        yield feed
        if feed.process is not None and feed.process.poll() is None:
            feed.process.kill()
            feed.process.wait()


def test_run_feed_when_killed_and_restarted_then_it_goes_on_and_stops_cleanly(
    feed: FeedProcess,
) -> None:
    feed.start()
    wait_for(lambda: feed.seq() >= 5)
    state = feed.published()
    assert state is not None
    assert state.tick is not None
    assert (state.breaker, state.tick.sources) == ("closed", "simulated")
    assert state.tick.sigma_ppm > 0  # its past has warmed the estimators up

    feed.end(signal.SIGKILL)
    killed_at = feed.seq()
    assert killed_at >= 5
    feed.start()
    wait_for(lambda: feed.seq() > killed_at + 5)

    assert feed.end(signal.SIGTERM) == 0
    assert feed.published() is None
    ticks = feed.ticks()
    assert [seq for seq, _ in ticks] == list(range(1, len(ticks) + 1))
    assert all(at % 100_000 == 0 for _, at in ticks)
