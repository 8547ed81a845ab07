"""Every GET on one core: requests a second and p99.

The web process has a core to itself, whatever asks and everything else has the other one. The
trader who asks has a history of thousands of bets and 50 rows of everything there are lists of.
Beside it, what one WSGI worker of production answers on the same core.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import httpx
import numpy as np
import pysqlite3 as sqlite3

from tests import stack
from tests.benchmarks import history, load
from tests.benchmarks.report import Figure, Scale
from tests.stack import Stack

BETS: Final = {Scale.CI: 5_000, Scale.NORMAL: 50_000, Scale.LONG: 1_000_000}
HOT: Final = {Scale.CI: 1_000, Scale.NORMAL: 8_000, Scale.LONG: 200_000}
OTHER: Final = {Scale.CI: 100, Scale.NORMAL: 800, Scale.LONG: 20_000}
CONNECTIONS: Final = 64
WALLETS: Final = 50
ROWS: Final = 50
TICK_S: Final = 3_600
TOKEN: Final = "benchmark"
HOT_BOUNDS: Final = (3_000, 10_000)
OTHER_BOUNDS: Final = (1_000, 2_000)

_HEAD: Final = Struct("<qI")
_OUTCOMES: Final = np.dtype(
    [("latency_us", "<u4"), ("status", "<u2"), ("code", "<u2"), ("answered_us", "<i8")]
)


class Told(NamedTuple):
    """What many answers to one request came to."""

    per_s: float
    p50_ms: float
    p99_ms: float
    bytes: int
    cpu: float


def run(scale: Scale) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = _fill(folder, BETS[scale])
        ask = _Generator(folder)
        with stack.running(folder, **load.SETTINGS) as running, _own_core(running) as web:
            figures = [
                _figure(f"GET {path}", ask(running.port, path, HOT[scale], web), HOT_BOUNDS)
                for path in ("config", "status", "price", "grid")
            ]
            figures += [
                _figure(f"GET {name}", ask(running.port, path, OTHER[scale], web), OTHER_BOUNDS)
                for name, path in paths.items()
            ]
            if scale is not Scale.CI:
                figures += _by_workers(running, folder, ask, paths, OTHER[scale])
    return figures


def _by_workers(
    running: Stack, folder: Path, ask: "_Generator", paths: dict[str, str], count: int
) -> list[Figure]:
    """Every request in full, by Django's views; the budget is that of the platform as a whole."""
    with _wsgi(running, folder) as (port, workers):
        return [
            _figure(f"WSGI worker: GET {name}", ask(port, path, count, workers), (None, None))
            for name, path in paths.items()
            if name != "prices"  # not Django's
        ]


def _figure(name: str, told: Told, bounds: tuple[float | None, float | None]) -> Figure:
    return Figure("reads", name, told.per_s, "req/s", *bounds, detail=told._asdict())


# What there is to read.


def _fill(folder: Path, bets: int) -> dict[str, str]:
    """A past with one trader who is signed in; the resources to ask for, by name."""
    path = history.migrated(folder)
    history.write(path, bets, history.some_addresses(WALLETS))
    with closing(sqlite3.connect(path.with_name("prices.sqlite3"))) as prices:
        _record_ticks(prices)
    with closing(sqlite3.connect(path)) as database:
        (wallet_id,) = database.execute(
            "SELECT min(id) FROM wallet_wallet WHERE kind = 'player'"
        ).fetchone()
        _sign_in(database, wallet_id)
        _fill_lists(database, wallet_id)
        bet_id, digits = database.execute(
            "SELECT id, nonce FROM bets_bet WHERE wallet_id = ? LIMIT 1", [wallet_id]
        ).fetchone()
        (column,) = database.execute("SELECT max(column_start) FROM bets_settlement").fetchone()
        database.commit()
    nonce = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return {
        "wallet": "wallet",
        f"bets, {ROWS} rows": f"bets?limit={ROWS}",
        f"bets?status, {ROWS} rows": f"bets?status=won&limit={ROWS}",
        "bets/{id}": f"bets/{bet_id}",
        "bets/by-nonce/{nonce}": f"bets/by-nonce/{nonce}",
        f"ledger, {ROWS} rows": f"ledger?limit={ROWS}",
        f"deposits, {ROWS} rows": f"deposits?limit={ROWS}",
        f"withdrawals, {ROWS} rows": f"withdrawals?limit={ROWS}",
        f"session-keys, {ROWS} rows": f"session-keys?limit={ROWS}",
        "settlements/{column}": f"settlements/{column}",
        "prices": f"prices?limit={ROWS}",
    }


def _sign_in(database: Any, wallet_id: int) -> None:
    now_us = time.time_ns() // 1_000
    database.execute(
        "INSERT INTO wallet_tradersession (token_sha256, wallet_id, created_at, expires_at)"
        " VALUES (?, ?, ?, ?)",
        [hashlib.sha256(TOKEN.encode()).digest(), wallet_id, now_us, now_us + 10**12],
    )


def _fill_lists(database: Any, wallet_id: int) -> None:
    """Nothing of it counts in the books: no entry stands behind it, and it is over."""
    now_us = time.time_ns() // 1_000
    numbers = range(1, ROWS + 1)
    address = f"0x{0:040x}"
    database.executemany(
        "INSERT INTO wallet_deposit (id, wallet_id, amount_micros, status, created_at)"
        " VALUES (?, ?, 1, 'failed', ?)",
        [(number, wallet_id, now_us) for number in numbers],
    )
    database.executemany(
        "INSERT INTO wallet_withdrawal (id, wallet_id, amount_micros, to_address, nonce, timestamp,"
        " signature, status, approve_after, created_at, changed_at)"
        " VALUES (?, ?, 1, ?, ?, 0, x'', 'cancelled', ?, ?, ?)",
        [(n, wallet_id, address, f"{n:032x}", now_us, now_us, now_us) for n in numbers],
    )
    database.executemany(
        "INSERT INTO wallet_sessionkey (id, wallet_id, address, label, max_stake_micros,"
        " max_total_micros, used_micros, nonce, timestamp, signature, expires_at, created_at)"
        " VALUES (?, ?, ?, 'phone', 1, 1, 0, ?, 0, ?, ?, ?)",
        [(n, wallet_id, f"0x{n:040x}", f"{n:032x}", bytes(65), now_us, now_us) for n in numbers],
    )


def _record_ticks(database: Any) -> None:
    """An hour of them, up to now."""
    end_us = time.time_ns() // 100_000_000 * 100_000
    ticks = range(TICK_S * 10)
    database.executemany(
        "INSERT INTO pricefeed_tick (seq, at, price_cents, sigma_ppm, overshoot_e12, sources,"
        " recorded_at) VALUES (?, ?, ?, 600000, 0, 'simulated', ?)",
        [
            (n + 1, at_us, 9_500_000 + n % 977, at_us)
            for n, at_us in ((n, end_us - (len(ticks) - n) * 100_000) for n in ticks)
        ],
    )


# Who serves, and on what.


@contextmanager
def _own_core(running: Stack) -> Iterator[list[int]]:
    """The web process gets the last of this run's cores, the others and we the rest."""
    cores = sorted(os.sched_getaffinity(0))
    web = running.pid_of("taptrading.asgi")
    for pid in running.pids():
        _pin(pid, cores[-1:] if pid == web else cores[:-1] or cores)
    _pin(os.getpid(), cores[:-1] or cores)
    try:
        yield [web]
    finally:
        _pin(os.getpid(), cores)


def _pin(pid: int, cores: Sequence[int]) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


@contextmanager
def _wsgi(running: Stack, folder: Path) -> Iterator[tuple[int, list[int]]]:
    """One WSGI worker as production runs them, beside the platform, on the web process' core."""
    port = stack.free_port()
    core = os.sched_getaffinity(running.pid_of("taptrading.asgi"))
    settings = load.SETTINGS | {"DATA_DIR": str(folder / "data"), "DOMAIN": running.domain}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_api", "--workers", "1", "--port", str(port)],
        cwd=stack.ROOT,
        env=os.environ | settings,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/v1/wallet")
        yield port, _family(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + stack.START_S
    while True:
        try:
            assert httpx.get(url, timeout=2).status_code == 401
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


# Who asks.


class _Generator:
    """Sends one request over and over, as soon as a connection is free."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = folder / "sender"
        source = Path(load.__file__).with_name("sender.c")
        subprocess.run(["gcc", "-O2", "-o", self._program, source], check=True)

    def __call__(self, port: int, path: str, count: int, pids: Sequence[int]) -> Told:
        self._send(port, path, CONNECTIONS)  # caches, connections, threads
        before_s = sum(map(_cpu_s, pids))
        outcomes, took_s = self._send(port, path, count)
        cpu_s = sum(map(_cpu_s, pids)) - before_s
        statuses = Counter(outcomes["status"].tolist())
        assert statuses == {200: count}, f"{path}: {statuses}"
        latencies = np.quantile(outcomes["latency_us"], [0.5, 0.99]) / 1_000
        size = len(httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", headers=_HEADERS).content)
        return Told(count / took_s, *latencies.tolist(), size, cpu_s / took_s)

    def _send(self, port: int, path: str, count: int) -> tuple[Any, float]:
        request = (
            f"GET /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
            + "\r\n"
        ).encode()
        requests, found = self._folder / "requests", self._folder / "outcomes"
        requests.write_bytes((_HEAD.pack(-1, len(request)) + request) * count)
        start_us = time.time_ns() // 1_000
        arguments = [port, CONNECTIONS, requests, found, start_us]
        subprocess.run(
            [str(self._program), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
        )
        outcomes = np.fromfile(found, _OUTCOMES)
        first_us = (outcomes["answered_us"] - outcomes["latency_us"]).min()
        return outcomes, float(outcomes["answered_us"].max() - first_us) / 1_000_000


_HEADERS: Final = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
