"""The child of `writing.measure`: the real writer on a real file with the production pragmas and
a real Valkey, fed with frames of commands and read out as frames of outcomes.

All of the writer is in it but the kernel's socket: events and balances are published too. Time
stands still and is moved by hand, so that as many bets as wanted fall between two ticks.
"""

import taptrading  # noqa: F401, I001  # the safe SQLite, before anything imports another

import django

django.setup()

import asyncio  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Awaitable, Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Final  # noqa: E402

import uvloop  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402

from bets import grid, placing, pricing, settlement  # noqa: E402
from bets.models import Bet  # noqa: E402
from bets.placing import PlaceBet  # noqa: E402
from bets.pricing import PricingHandler  # noqa: E402
from bets.settlement import DecideColumn, SettleBets  # noqa: E402
from ops.management.commands.run_writer import _server, tune_connection  # noqa: E402
from pricefeed import recorder  # noqa: E402
from pricefeed.board import FeedState, TickRecord, board  # noqa: E402
from taptrading import clock, collector  # noqa: E402
from tests.benchmarks.writing import Measured  # noqa: E402
from tests.fakes import ManualClock  # noqa: E402
from wallet import balances  # noqa: E402
from wallet import inbox as inbox_module  # noqa: E402
from wallet import server as server_module  # noqa: E402
from wallet.book import Book  # noqa: E402
from wallet.checkpoints import Checkpointer  # noqa: E402
from wallet.inbox import Request  # noqa: E402
from wallet.models import Wallet  # noqa: E402
from wallet.protocol import HEADER, encode_frame  # noqa: E402
from wallet.server import WriterServer  # noqa: E402

STAKE_MICROS: Final = 1_000_000
PRICE_CENTS: Final = 9_500_500
SIGMA_PPM: Final = 500_000
BANDS: Final = 20
COLUMNS: Final = 8
BETS_A_TICK: Final = 2_000
WARM_UP: Final = 4_000
AFTER_US: Final = 120_000_000


class Sink:
    """The connection of whoever asked."""

    frame = b""

    def is_closing(self) -> bool:
        return False

    def write(self, frame: bytes) -> None:
        self.frame = frame


class Stopwatch:
    """Processor seconds spent in the parts of a batch: real ones say more of the machine's others
    than of the part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, owner: Any, method: str) -> None:
        plain: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.thread_time()
            try:
                return plain(*args, **kwargs)
            finally:
                took = time.thread_time() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + took

        setattr(owner, method, timed)

    def time_parts(self, server: WriterServer) -> None:
        self.time("decode frame", server, "_decode")
        self.time("encode events", server_module.events, "encode")
        self.time("encode frame", inbox_module, "encode_frame")
        for name, work in (
            ("place", placing.PlacingWork),
            ("price", pricing.PricingWork),
            ("settle", settlement.SettlementWork),
        ):
            for step in ("admit", "prefetch", "decide", "persist", "finish"):
                self.time(f"{name} {step}", work, step)
        self.time("book persist", Book, "persist")
        connection.ensure_connection()
        self.time("commit", connection, "_commit")


class Bench:
    def __init__(self, server: WriterServer, batch: int) -> None:
        last = recorder.newest()
        after_us = last.at_ms * 1_000 + AFTER_US if last else 0  # an earlier run's columns are over
        start_us = max(time.time_ns() // 1_000, after_us)
        self.clock = ManualClock(start_us - start_us % 100_000)
        clock.use(self.clock)
        self._server = server
        self._sink = Sink()
        players = Wallet.objects.filter(kind=Wallet.Kind.PLAYER)
        self._wallet_ids = list(players.values_list("id", flat=True))
        self._batch = batch
        self._random = random.Random(start_us)
        self._taken: set[tuple[int, int, int]] = set()
        self.columns: set[int] = set()
        self.batch_s: list[float] = []

    def tick(self) -> None:
        last = recorder.newest()
        at_ms = self.clock.us // 1_000
        tick = TickRecord(last.seq + 1 if last else 1, at_ms, PRICE_CENTS, SIGMA_PPM, 0, "bench")
        recorder.record([tick], self.clock.us)
        board.apply(FeedState(tick, "closed"))

    def bets(self, count: int) -> list[bytes]:
        """Frames of bets of random wallets on cells where they have none yet."""
        columns = list(grid.open_columns(self.clock.us))[1 : COLUMNS + 1]
        lowest = grid.band_low(PRICE_CENTS) - BANDS // 2 * 1_000
        commands: list[PlaceBet] = []
        while len(commands) < count:
            wallet_id = self._random.choice(self._wallet_ids)
            column = self._random.choice(columns)
            low = lowest + self._random.randrange(BANDS) * 1_000
            if (wallet_id, column, low) not in self._taken:
                self._taken.add((wallet_id, column, low))
                self.columns.add(column)
                commands.append(self._bet(wallet_id, column, low))
        pieces = range(0, count, self._batch)
        return [_frame(commands[first : first + self._batch]) for first in pieces]

    def _bet(self, wallet_id: int, column: int, low: int) -> PlaceBet:
        return PlaceBet(
            wallet_id=wallet_id,
            key_id=0,
            column_start=column,
            low_cents=low,
            high_cents=low + 1_000,
            stake_micros=STAKE_MICROS,
            min_rate_bps=10_000,
            nonce=f"{self._random.getrandbits(128):032x}",
            timestamp=self.clock.us // clock.US_PER_S,
            signature=self._random.randbytes(65),
        )

    async def run(self, frames: list[bytes]) -> None:
        """What the server does with the frames of a connection."""
        for frame in frames:
            started = time.perf_counter()
            self._take(frame)
            self._server._run_inbox()
            self.batch_s.append(time.perf_counter() - started)
            await asyncio.sleep(0)
        await self.told()

    def _take(self, frame: bytes) -> None:
        number, commands = self._server._decode(frame)
        self._server._take(Request(self._sink, number, commands))  # type: ignore[arg-type]

    async def told(self) -> None:
        while self._server._untold:
            await asyncio.sleep(0.0005)

    async def price(self) -> None:
        """Price all that waits, as the first tick after the delay would."""
        waiting = next(h for h in self._server.writer.handlers if isinstance(h, PricingHandler))
        while len(waiting._unpriced):
            self._server._run_due()
            await asyncio.sleep(0)
        await self.told()

    async def settle(self, column_start: int) -> None:
        """Decide the column, its own band touched, and resolve its bets as the worker does."""
        low = grid.band_low(PRICE_CENTS)
        decision = DecideColumn(
            column_start=column_start,
            state="settled",
            reason="",
            open_cents=low + 1,
            low_cents=low + 1,
            high_cents=low + 2_000,
            close_cents=low + 1,
            ticks=51,
            max_gap_ms=100,
            sources="bench",
            ticks_sha256="0" * 64,
            evidence=b"",
        )
        await self.run([_frame([decision])])
        while Bet.objects.open().filter(column_start=column_start).exists():
            await self.run([_frame([SettleBets(column_start)])])


class Parts:
    """Adds up real and processor time of each part."""

    def __init__(self) -> None:
        self.real_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}

    async def time(self, name: str, part: Awaitable[None]) -> None:
        cpu, real = time.process_time(), time.perf_counter()
        await part
        self.real_s[name] = self.real_s.get(name, 0.0) + time.perf_counter() - real
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + time.process_time() - cpu


async def _main(bets: int, batch: int, with_parts: bool) -> Measured:
    store = balances.client(settings.REDIS_URL)
    server = _server(store)
    telling = asyncio.create_task(server._tell_others())
    bench, watch, parts = Bench(server, batch), Stopwatch(), Parts()
    wal = Path(f"{settings.DATABASES['default']['NAME']}-wal")
    tune_connection()
    checkpointer = Checkpointer()
    if with_parts:  # with a log that only grows, what a bet adds to it can be counted
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_autocheckpoint=0")
    else:
        checkpointer.start()
    await _round(bench, Parts(), WARM_UP)
    bench.batch_s.clear()
    collector.spare()
    if with_parts:
        watch.time_parts(server)
    grown: dict[str, float] = {}
    size = wal.stat().st_size
    for count in [BETS_A_TICK] * (bets // BETS_A_TICK):
        await _round(bench, parts, count)
    place_s = list(bench.batch_s)
    grown["place and price"] = (wal.stat().st_size - size) / bets
    size = wal.stat().st_size
    bench.batch_s.clear()
    for column_start in sorted(bench.columns):
        await parts.time("settle", bench.settle(column_start))
    grown["settle"] = (wal.stat().st_size - size) / (bets + WARM_UP)
    checkpointer.stop()
    server.stop()
    server._tell.set()
    await telling
    await store.aclose()
    return Measured(
        bets=bets,
        place_s=parts.real_s["place"],
        place_cpu_s=parts.cpu_s["place"],
        price_s=parts.real_s["price"],
        settle_s=parts.real_s["settle"] * bets / (bets + WARM_UP),
        batch_p50_ms=_share(place_s, 0.5),
        batch_p99_ms=_share(place_s, 0.99),
        settle_p99_ms=_share(bench.batch_s, 0.99),
        wal_bytes=grown if with_parts else {},
        parts_us={name: seconds / bets * 1e6 for name, seconds in watch.seconds.items()},
    )


async def _round(bench: Bench, parts: Parts, count: int) -> None:
    """The bets between two ticks, and their pricing."""
    bench.tick()
    frames = bench.bets(count)
    await parts.time("place", bench.run(frames))
    bench.clock.advance(0.3)
    bench.tick()
    await parts.time("price", bench.price())
    bench.clock.advance(0.1)


def _share(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(len(seconds) * share)] * 1_000


def _frame(commands: list[Any]) -> bytes:
    return encode_frame(1, commands)[HEADER.size :]


def main() -> None:
    bets, batch, with_parts = map(int, sys.argv[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_main(bets, batch, bool(with_parts)))._asdict()))


if __name__ == "__main__":
    main()
