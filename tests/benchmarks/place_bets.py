"""How many signed bets the real stack takes: `make bench`.

Starts the platform as `make run` does (signatures, nonces, fsync and confirmations on; only the
limit of bets per wallet is raised), signs bets for cells that are open now, and sends them from
this second process over keep-alive connections: first as fast as replies come, then at held
rates. Latency counts from the moment a bet was due to be sent. Prints one table, and checks that
every 202 has its row.
"""

import argparse
import asyncio
import json
import platform
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from taptrading.client import Client, LocalKey, SignedBet
from tests import stack

STAKE_MICROS = 1_000_000
SIGNED_AHEAD_S = 20


class Answer(NamedTuple):
    status: int
    code: str
    latency_ms: float


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) >= length and self._waiting is not None:
            status, body = int(head[9:12]), rest[:length]
            self._buffer = rest[length:]
            waiting, self._waiting = self._waiting, None
            waiting.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("closed"))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        self._transport.close()


class Load:
    """Connections, and bets signed ahead for them."""

    def __init__(self, url: str, wallets: int, connections: int) -> None:
        self.url = url
        self._connections = connections
        self.config = Client(url).config()
        self.keys = [LocalKey.random() for _ in range(wallets)]
        self._used: set[tuple[str, str]] = set()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._open_wallet, self.keys))

    def _open_wallet(self, key: LocalKey) -> None:
        client = Client(self.url)
        client.sign_in(key)
        client.deposit(1_000 * STAKE_MICROS)
        client.close()

    def sign(self, count: int) -> list[bytes]:
        """Requests for bets that are good for the next half minute, no cell twice a wallet."""
        columns = _far_columns(httpx.get(self.url + "/api/v1/grid").json()["cells"])
        pairs = [(key, cell) for key in self.keys for cell in columns]
        pairs = [(key, cell) for key, cell in pairs if (key.address, cell) not in self._used]
        random.shuffle(pairs)
        if len(pairs) < count:
            print(f"only {len(pairs)} of {count} bets: more --wallets would sign more")
        self._used.update((key.address, cell) for key, cell in pairs[:count])
        now_s = int(time.time())
        return [self._request(key, cell, now_s) for key, cell in pairs[:count]]

    def _request(self, key: LocalKey, cell: str, now_s: int) -> bytes:
        bet = SignedBet.by(
            key,
            self.config,
            wallet=key.address,
            cell_id=cell,
            stake_micros=STAKE_MICROS,
            min_rate_bps=10_100,
            timestamp=now_s,
        )
        body = bet.body()
        head = (
            f"POST /api/v1/bets HTTP/1.1\r\nHost: {self.url[7:]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def saturate(self, requests: Sequence[bytes]) -> tuple[float, list[Answer]]:
        """Each connection sends its next bet as soon as it has its reply."""
        queue = iter(requests)
        answers: list[Answer] = []

        async def one(connection: Connection) -> None:
            for request in queue:
                answer = await _timed(connection, request, time.perf_counter())
                answers.append(answer)

        connections = await self._connect()
        started = time.perf_counter()
        await asyncio.gather(*(one(connection) for connection in connections))
        took = time.perf_counter() - started
        for connection in connections:
            connection.close()
        return took, answers

    async def hold(self, requests: Sequence[bytes], rate: int) -> tuple[float, list[Answer]]:
        """Bets fall due at a fixed rate, whatever the replies do."""
        free: asyncio.Queue[Connection] = asyncio.Queue()
        connections = await self._connect()
        for idle in connections:
            free.put_nowait(idle)
        answers: list[Answer] = []
        tasks = set()
        started = time.perf_counter()

        async def one(request: bytes, due: float) -> None:
            connection = await free.get()
            answers.append(await _timed(connection, request, due))
            free.put_nowait(connection)

        for number, request in enumerate(requests):
            due = started + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(one(request, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        took = time.perf_counter() - started
        for connection in connections:
            connection.close()
        return took, answers

    async def _connect(self) -> list[Connection]:
        host, _, port = self.url[7:].partition(":")
        loop = asyncio.get_running_loop()
        made = [
            loop.create_connection(Connection, host, int(port)) for _ in range(self._connections)
        ]
        return [connection for _, connection in await asyncio.gather(*made)]


async def _timed(connection: Connection, request: bytes, due: float) -> Answer:
    status, body = await connection.send(request)
    latency_ms = (time.perf_counter() - due) * 1_000
    return Answer(status, "" if status == 202 else json.loads(body)["error"], latency_ms)


def _far_columns(cells: list[dict[str, Any]]) -> list[str]:
    """Cells whose column stays open while their bets are signed and sent, and whose rate is far
    enough from the ends to be offered that long."""
    first = min(int(cell["cell_id"].split("_")[0]) for cell in cells)
    return [
        cell["cell_id"]
        for cell in cells
        if int(cell["cell_id"].split("_")[0]) >= first + SIGNED_AHEAD_S
        and 15_000 <= cell["rate_bps"] <= 100_000
    ]


class Row(NamedTuple):
    name: str
    rate: float
    answers: list[Answer]

    def text(self) -> str:
        codes = Counter(answer.code or "202" for answer in self.answers)
        accepted = sorted(a.latency_ms for a in self.answers if a.status == 202)
        points = [_at(accepted, share) for share in (0.5, 0.95, 0.99, 1.0)]
        quoted = "  ".join(f"{point:8.1f}" for point in points)
        return f"{self.name:<14}{self.rate:>9.0f}  {quoted}  {dict(codes)}"


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def measure(load: Load, rates: list[int], seconds: int, saturating: int) -> list[Row]:
    rows = [_row("saturating", *await load.saturate(load.sign(saturating)))]
    for rate in rates:
        held = await load.hold(load.sign(rate * seconds), rate)
        rows.append(_row(f"held {rate}/s", *held))
    return rows


def _row(name: str, took: float, answers: list[Answer]) -> Row:
    accepted = sum(answer.status == 202 for answer in answers)
    row = Row(name, accepted / took, answers)
    print(row.text(), flush=True)
    return row


def check_rows(running: stack.Stack, accepted: int) -> None:
    """Every 202 has its row, and the books balance. Raises AssertionError."""
    import sqlite3

    path = running.folder / "data" / "taptrading.sqlite3"
    with sqlite3.connect(path) as database:
        (stored,) = database.execute("SELECT count(*) FROM bets_bet").fetchone()
        (sum_micros,) = database.execute("SELECT sum(balance_micros) FROM wallet_wallet").fetchone()
    assert stored == accepted, f"{accepted} bets were acknowledged, {stored} are stored"
    assert sum_micros == 0, f"the wallets sum to {sum_micros}"
    print(f"{stored} bets acknowledged and stored; all wallets sum to zero")


def main() -> None:
    import taptrading  # noqa: F401  # the safe SQLite, before anything imports another

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wallets", type=int, default=400)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rates", type=int, nargs="*", default=[500, 1_000, 2_000])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--saturating", type=int, default=20_000)
    options = parser.parse_args()
    raised = {"TAP_BET_RATE_PER_S": "100000", "TAP_BET_BURST": "100000"}
    raised["TAP_SIGNIN_PER_MINUTE"] = "100000"
    with (
        tempfile.TemporaryDirectory() as folder,
        stack.running(Path(folder), **raised) as running,
    ):
        load = Load(running.url, options.wallets, options.connections)
        print(f"{platform.machine()}, {options.wallets} wallets, {options.connections} connections")
        print(f"{'':<14}{'bets/s':>9}  {'p50 ms':>8}  {'p95':>8}  {'p99':>8}  {'max':>8}")
        rows = asyncio.run(measure(load, options.rates, options.seconds, options.saturating))
        check_rows(running, sum(a.status == 202 for row in rows for a in row.answers))


if __name__ == "__main__":
    main()
