"""Bets over HTTP against the bound of the server itself: a bare ASGI application under the same
flags, with the same requests from the same sender.

The bound does nothing with a request; a bet is also recovered, judged, stored and answered, with
the writer and all other processes on the same cores.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.benchmarks import bench, load
from tests.benchmarks.report import Figure, Scale
from tests.stack import ROOT, free_port

# Bets, and the rate that they are signed for: each has a moment at which it is good.
BETS: Final = {Scale.CI: (6_000, 3_000), Scale.NORMAL: (30_000, 3_000), Scale.LONG: (90_000, 3_000)}
FLAGS: Final = (
    *("--loop", "uvloop", "--http", "httptools", "--lifespan", "off", "--log-level", "warning"),
    *("--no-access-log", "--no-proxy-headers", "--no-server-header", "--backlog", "4096"),
)


def run(scale: Scale) -> list[Figure]:
    count, rate = BETS[scale]
    with bench.platform(load.wallets_for(rate)) as bench_:
        bench_.stretch(load.steady(rate, 2), at_once=True)  # the wallets become known
        stretch = bench_.stretch(load.steady(rate, count / rate), at_once=True)
        bench_.check()
        with _bare() as port:
            start_us = time.time_ns() // 1_000 + 200_000
            bound = bench_.load.send(stretch.sent.requests, start_us, port=port)
    bets = stretch.sent.rate
    return [
        Figure("http", "bare ASGI requests", bound.rate, "/s", detail=bound.answers()),
        Figure("http", "bets accepted, saturating", bets, "/s", detail=stretch.detail()),
        Figure("http", "bets accepted / bare requests", bets / bound.rate, "x"),
    ]


@contextmanager
def _bare() -> Iterator[int]:
    """The bare application's server, and its port."""
    port = free_port()
    words = ("-m", "uvicorn", "tests.benchmarks.bare:application", "--port", str(port))
    server = subprocess.Popen([sys.executable, *words, *FLAGS], cwd=ROOT)
    try:
        _wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
