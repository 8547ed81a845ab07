"""Columns are paid once, by the stored decision: real workers die, hang, and run twice."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pysqlite3 as sqlite3
import pytest
import redis

from ops import parts
from ops.supervisor import Part
from taptrading.clock import SharedClock
from tests import stack
from tests.bank.game import check_books, wait_until_all_is_settled
from tests.bank.history import never_found
from tests.bank.house import SETTINGS, USDC, House, column_of
from tests.bank.nemesis import PARTS
from tests.bank.wire import Http
from tests.servers import Valkey, short_folder, valkey_server

pytestmark = pytest.mark.timeout(240)
RATE = 4.0
ENOUGH = 30  # bets for a column to have a middle
PATIENCE_US = 60_000_000
COLUMN_US = 5_000_000
_TRIES = 50


class Table:
    """A platform on a Redis of the test's own, and wallets with money."""

    def __init__(self, running: stack.Stack, server: Valkey) -> None:
        self.running = running
        self.server = server
        self.house = House(running, seed=1)
        self.players = asyncio.run(self.house.open(8, 1_000))
        self.clock = SharedClock(running.folder / "clock")
        self.last = 0

    def place(self) -> int:
        """Bets of all players on one column that still takes some. Returns its start."""
        return asyncio.run(self._place())

    async def _place(self) -> int:
        http = Http(self.house.port)
        try:
            async with self.house.watching():
                for _ in range(50):
                    self.house.cells = []
                    if await self._place_on(http, await self.house.some_cells()) >= ENOUGH:
                        return self.last
                    await asyncio.sleep(0.1)  # the price was too old, say
        finally:
            http.close()
        raise AssertionError("no column takes bets")

    async def _place_on(self, http: Http, cells: list[tuple[str, int]]) -> int:
        """How many are accepted on the first column that was not played yet and lasts."""
        _, *later = sorted({column_of(cell_id) for cell_id, _ in cells})
        self.last = next(start for start in later if start > self.last)
        mine = [cell for cell in cells if column_of(cell[0]) == self.last][:20]
        accepted = 0
        for player in self.players:
            now_s = self.house.now_s()
            bets = [
                player.signer.bet(cell_id, USDC, max(10_100, rate // 2), now_s)
                for cell_id, rate in mine
            ]
            answer = await http.ask("POST", "bets/batch", {"bets": bets})
            assert answer.status == 200, answer
            accepted += sum(result["status"] == 202 for result in answer.body["results"])
        return accepted

    def rows(self, question: str, *values: Any, file: Path | None = None) -> list[Any]:
        connection = sqlite3.connect(file or self.house.database_file, timeout=30)
        try:
            return list(connection.execute(question, values).fetchall())
        finally:
            connection.close()

    def resolved(self, column: int) -> tuple[int, int]:
        """How many bets of the column are resolved, and how many will be."""
        ((done, all_),) = self.rows(
            "SELECT count(resolved_at), count(*) FROM bets_bet WHERE column_start = ?"
            " AND status <> 'rejected'",
            column,
        )
        return done, all_

    def state(self, column: int) -> str:
        found = self.rows("SELECT state FROM bets_settlement WHERE column_start = ?", column)
        return str(found[0][0]) if found else ""

    def check(self) -> None:
        wait_until_all_is_settled(self.house)
        connection = self.house.database()
        try:
            assert never_found(connection) == []
        finally:
            connection.close()

    def pid(self, part: str) -> int:
        return self.running.pid_of(PARTS[part])


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    with (
        short_folder() as folder,
        valkey_server(folder) as server,
        # Small batches make the middle of a column last.
        stack.running(folder, REDIS_URL=server.url, TAP_SETTLE_BATCH="2", **SETTINGS) as running,
    ):
        running.clock_rate(RATE)
        yield Table(running, server)
        assert check_books(running) == []


def test_column_when_the_worker_dies_in_its_middle_then_each_bet_is_paid_once(
    table: Table,
) -> None:
    column = table.place()
    killed_at = 0

    def is_in_the_middle() -> bool:
        nonlocal killed_at
        killed_at, all_ = table.resolved(column)
        return 0 < killed_at < all_

    until(is_in_the_middle, "the column's middle was missed")
    os.kill(table.pid("worker"), signal.SIGKILL)
    done, all_ = table.resolved(column)
    assert done < all_
    table.check()
    assert table.resolved(column) == (all_, all_)


def test_columns_when_workers_and_beats_run_twice_then_each_bet_is_paid_once(
    table: Table,
) -> None:
    schedule = table.running.folder / "another-beat"
    with another(table, parts.worker()), another(table, parts.beat(schedule)):
        columns = [table.place() for _ in range(2)]
        table.check()
    assert all(table.state(column) for column in columns)


@contextmanager
def another(table: Table, part: Part) -> Iterator[None]:
    """One more of what the platform runs already, and it keeps running."""
    with started(table, part, subprocess.DEVNULL) as process:
        yield
        assert process.poll() is None


@contextmanager
def started(table: Table, part: Part, output: Any) -> "Iterator[subprocess.Popen[bytes]]":
    """In the platform's environment."""
    # Not that of the part itself: Celery writes its title over it.
    pairs = Path(f"/proc/{table.running.process.pid}/environ").read_bytes().decode().split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs[:-1]) | part.environment
    process = subprocess.Popen(
        part.command,
        cwd=stack.ROOT,
        env=environment,
        stdout=output,
        stderr=output,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_column_when_its_ticks_are_being_recorded_at_the_deadline_then_they_count(
    table: Table,
) -> None:
    """The worker would make it void: nothing that reaches its end is there. But it is on its
    way, and was recorded in time."""
    column = table.place()
    until(
        lambda: (
            table.rows(
                "SELECT 1 FROM bets_bet WHERE column_start = ? AND status = 'confirmed'", column
            )
            and not table.rows(
                "SELECT 1 FROM bets_bet WHERE column_start = ? AND status = 'accepted'", column
            )
        ),
        "no bet was confirmed",
    )
    feed = table.pid("feed")
    recording = sqlite3.connect(table.house.prices_file, timeout=10, isolation_level=None)
    recording.execute("BEGIN IMMEDIATE")  # the feed holds no lock while it is stopped
    os.kill(feed, signal.SIGSTOP)
    until(lambda: has_stopped(feed), "the feed does not stop")
    recording.execute("ROLLBACK")
    deadline_us = column * 1_000_000 + COLUMN_US + PATIENCE_US
    try:
        assert table.clock.now_us() < column * 1_000_000 + COLUMN_US
        table.running.clock_rate(20)
        until(lambda: table.clock.now_us() > deadline_us - 2_000_000, "time stands still")
        recording.execute("BEGIN IMMEDIATE")
        record(recording, column * 1_000_000 + COLUMN_US, deadline_us - 1)
        said = table.running.log.stat().st_size
        until(lambda: table.state(column) or put_off(table, said), "nobody settles")
        assert table.clock.now_us() > deadline_us
        recording.execute("COMMIT")
    finally:
        recording.close()
        os.kill(feed, signal.SIGCONT)
        table.running.clock_rate(RATE)
    until(lambda: table.state(column), "the column is not decided")
    assert table.state(column) == "settled"
    table.check()


def has_stopped(pid: int) -> bool:
    """All of its threads: one that still runs may take a lock that it then keeps."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def put_off(table: Table, since: int) -> bool:
    return logged(table, since, b"settlement goes on later: database is locked") > 0


def record(connection: Any, end_us: int, recorded_at_us: int) -> None:
    """Ticks at every mark from the newest one to `end_us`, all at its price."""
    (last,) = connection.execute(
        "SELECT seq, at, price_cents, sigma_ppm, overshoot_e12, sources FROM pricefeed_tick"
        " ORDER BY seq DESC LIMIT 1"
    ).fetchall()
    seq, at_us, *rest = last
    marks = range(at_us + 100_000, end_us + 1, 100_000)
    connection.executemany(
        "INSERT INTO pricefeed_tick (seq, at, price_cents, sigma_ppm, overshoot_e12, sources,"
        " recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(seq + n, mark, *rest, recorded_at_us) for n, mark in enumerate(marks, 1)],
    )


def test_worker_when_redis_dies_as_its_tasks_end_then_it_ends_itself_to_be_started_anew(
    table: Table, tmp_path: Path
) -> None:
    """Celery takes tasks whose end it could not tell for under way: once they fill its places, of
    which this worker has one, it asks for no more."""
    said = tmp_path / "worker.log"
    writer, ours = table.pid("writer"), table.pid("worker")
    os.kill(ours, signal.SIGSTOP)
    try:
        with said.open("wb") as output, started(table, one_place(), output) as worker:
            table.place()
            os.kill(writer, signal.SIGSTOP)  # who settles waits for it, four seconds each time
            try:
                until(lambda: b"settlement goes on later" in said.read_bytes(), "none gives up")
                with redis.Redis.from_url(table.server.url) as client:
                    until(one_hangs(client), "the next one does not wait")
                table.server.stop()
                until(lambda: b"Couldn't ack" in said.read_bytes(), "none ended meanwhile")
            finally:
                table.server.start()
                os.kill(writer, signal.SIGCONT)
            assert worker.wait(60) == 1
        assert b"work waits and is not taken" in said.read_bytes()
    finally:
        os.kill(ours, signal.SIGCONT)
    table.check()


def one_hangs(client: "redis.Redis") -> Callable[[], bool]:
    """Whether the same task has been under way for a while."""
    seen: tuple[Any, float] = ([], 0.0)

    def hangs() -> bool:
        nonlocal seen
        under_way = client.hkeys("celery:unacked")
        if not under_way or under_way != seen[0]:
            seen = (under_way, time.monotonic())
        return bool(under_way) and time.monotonic() - seen[1] > 0.5

    return hangs


def one_place() -> Part:
    part = parts.worker()
    words = ["--concurrency=1" if w.startswith("--concurrency") else w for w in part.command]
    return replace(part, command=tuple(words))


def logged(table: Table, since: int, words: bytes) -> int:
    with table.running.log.open("rb") as log:
        log.seek(since)
        return log.read().count(words)
