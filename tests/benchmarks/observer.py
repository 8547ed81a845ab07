"""A few traders who listen while the load runs: when each confirmation reached them.

Run as a process of its own: `python -m tests.benchmarks.observer URL OUT SECRET...` signs in with
each key, subscribes to its bets, prints "ready", and until its standard input closes writes one
line for each `bet.confirmed` and `bet.rejected`: the bet's id and the microsecond of arrival.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np
from websockets.asyncio.client import connect

from taptrading.client import Client, LocalKey
from tests.benchmarks.load import Sent, Wallets, database
from tests.stack import ROOT, Stack

PRICED = ("bet.confirmed", "bet.rejected")


class _Bet(msgspec.Struct):
    bet_id: str = ""


class _Frame(msgspec.Struct):
    type: str
    data: _Bet | None = None


@contextmanager
def listening(running: Stack, wallets: Wallets, count: int) -> Iterator[Path]:
    """While the block runs, the first `count` wallets listen; their file is whole after it."""
    out = running.folder / f"heard-{time.monotonic_ns()}"
    keys = [secret.hex() for secret in wallets.secrets[:count]]
    command = [sys.executable, "-m", "tests.benchmarks.observer", running.url, str(out), *keys]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n", "the observer cannot listen"
        yield out
    finally:
        process.stdin.close()
        process.wait(30)


def confirmed_after_ms(running: Stack, heard: Path, sent: Sent) -> list[float]:
    """How long after its pricing tick each confirmation arrived, for those bets that were sent
    in this stretch and priced by a tick."""
    arrived = {}
    for line in heard.read_text().splitlines():
        bet_id, at_us = map(int, line.split())
        if at_us >= sent.start_us:
            arrived[bet_id] = at_us
    with database(running, "prices.sqlite3") as prices:
        ticks = dict(prices.execute("SELECT seq, at FROM pricefeed_tick"))
    with database(running) as connection:
        found = []
        for bet_id, at_us in arrived.items():
            row = connection.execute(
                "SELECT pricing_tick FROM bets_bet WHERE id = ?", [bet_id]
            ).fetchone()
            if row is not None and row[0] is not None:
                found.append((at_us - ticks[row[0]]) / 1_000)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else float("nan")


def main() -> None:
    url, out, *secrets = sys.argv[1:]
    with Path(out).open("w") as file:
        asyncio.run(_observe(url, [LocalKey(bytes.fromhex(secret)) for secret in secrets], file))


async def _observe(url: str, keys: list[LocalKey], file: TextIO) -> None:
    loop = asyncio.get_running_loop()
    tokens = [_token(url, key) for key in keys]
    ready = [asyncio.Event() for _ in keys]
    tasks = [
        asyncio.create_task(_listen(url, token, event, file))
        for token, event in zip(tokens, ready, strict=True)
    ]
    async with asyncio.timeout(30):
        await asyncio.gather(*(event.wait() for event in ready))
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _token(url: str, key: LocalKey) -> str:
    client = Client(url)
    try:
        return client.sign_in(key).token
    finally:
        client.close()


async def _listen(url: str, token: str, ready: asyncio.Event, file: TextIO) -> None:
    decode = msgspec.json.Decoder(_Frame).decode
    async with connect(url.replace("http", "ws") + "/ws/v1", max_queue=None) as socket:
        await socket.send(msgspec.json.encode({"op": "auth", "token": token}).decode())
        subscribe = {"op": "subscribe", "channels": ["bets"]}
        await socket.send(msgspec.json.encode(subscribe).decode())
        async for message in socket:
            frame = decode(message)
            if frame.type in PRICED and frame.data is not None:
                file.write(f"{frame.data.bet_id} {time.time_ns() // 1_000}\n")
            elif frame.type == "snapshot":
                ready.set()


if __name__ == "__main__":
    main()
