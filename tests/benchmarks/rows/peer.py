"""The plain peer (`tests.benchmarks.peer`): how many signed bets the usual way takes.

Two workers of one thread each: the fastest of what was tried with the file's one write lock,
which is what bounds it (more workers, or threads, wait for it longer and in no order).
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pysqlite3 as sqlite3

from taptrading.client.signing import LocalKey
from tests.benchmarks import load
from tests.benchmarks.report import Figure, Scale
from tests.stack import ROOT, START_S, Stack, free_port

WALLETS: Final = 2_500
WORKERS: Final = 2
CONNECTIONS: Final = 32
# First some to learn its rate by: bets have to be signed for the moment they are sent.
PROBE_BETS: Final = 200
PROBE_RATE: Final = 200
SECONDS: Final = {Scale.CI: 2, Scale.NORMAL: 15, Scale.LONG: 60}


class PeerResult(NamedTuple):
    """`rate`: accepted bets a second, as fast as replies came; times in milliseconds."""

    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    accepted: int
    answers: dict[str, int]


def run(scale: Scale) -> list[Figure]:
    result = measure(scale)
    return [
        Figure("peer", "plain DRF and ORM, accepted", result.rate, "bets/s", detail=_detail(result))
    ]


def _detail(result: PeerResult) -> dict[str, Any]:
    return {"workers": WORKERS, "connections": CONNECTIONS, **result._asdict()}


def measure(scale: Scale) -> PeerResult:
    """Send bets as fast as the peer replies, and check that every 202 has its rows."""
    keys = [LocalKey.from_seed(f"bench {number}") for number in range(WALLETS)]
    wallets = load.Wallets([key._key.secret for key in keys], [key.address for key in keys])
    with running(wallets.addresses) as peer, closing(load.Load(peer, wallets)) as sender:
        probe = _send(sender, PROBE_RATE, PROBE_BETS / PROBE_RATE)
        sent = _send(sender, max(probe.rate, 1), SECONDS[scale])
        _check_rows(peer, [probe, sent])
    return PeerResult(
        rate=sent.rate,
        p50_ms=sent.latency_ms(0.5),
        p95_ms=sent.latency_ms(0.95),
        p99_ms=sent.latency_ms(0.99),
        accepted=sent.accepted,
        answers=sent.answers(),
    )


def _send(sender: load.Load, rate: float, seconds: float) -> load.Sent:
    return sender.run(load.steady(rate, seconds), CONNECTIONS, at_once=True)


@contextmanager
def running(addresses: Sequence[str]) -> Iterator[Stack]:
    """The peer, serving these wallets in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = os.environ | {
            "PEER_DATABASE": str(_database(Path(folder))),
            "PEER_DOMAIN": f"127.0.0.1:{port}",
        }
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.peer.database"],
            cwd=ROOT,
            env=environment,
            input="\n".join(addresses),
            text=True,
            check=True,
        )
        process = subprocess.Popen(_server(port), cwd=ROOT, env=environment)
        try:
            _wait_for(port)
            yield Stack(Path(folder), port, process)
        finally:
            process.terminate()
            process.wait(30)


def _server(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "granian", "tests.benchmarks.peer.wsgi:application"),
        *("--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(WORKERS), "--blocking-threads", "1", "--log-level", "warning"),
    ]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the peer did not start")


def _database(folder: Path) -> Path:
    return folder / "peer.sqlite3"


def _check_rows(peer: Stack, sent: Sequence[load.Sent]) -> None:
    """Every 202 has its bet, its entry and its part of the balance. Raises AssertionError."""
    acknowledged = {
        nonces[number]
        for part in sent
        for nonces in [list(load._nonces(part.requests))]
        for number in np.flatnonzero(part.outcomes["status"] == 202)
    }
    unanswered = sum(int((part.outcomes["status"] == 0).sum()) for part in sent)
    with closing(sqlite3.connect(_database(peer.folder))) as database:
        stored = {nonce for (nonce,) in database.execute("SELECT nonce FROM peer_bet")}
        (drift,) = database.execute(
            "SELECT count(*) FROM peer_wallet w WHERE balance_micros !="
            " (SELECT balance_after_micros FROM peer_ledgerentry WHERE wallet_id = w.id"
            " ORDER BY id DESC LIMIT 1)"
        ).fetchone()
        (entries,) = database.execute("SELECT count(*) FROM peer_ledgerentry").fetchone()
    assert acknowledged <= stored, f"{len(acknowledged - stored)} acknowledged bets are not stored"
    assert len(stored) <= len(acknowledged) + unanswered, "bets are stored, not acknowledged"
    assert (entries, drift) == (len(stored), 0), f"{entries} entries, {drift} balances are wrong"
