"""The writer process: the one that moves money."""

import asyncio
import logging
import os
import signal
from typing import Any

import redis.asyncio
import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from redis.exceptions import RedisError

from bets import counts
from bets.handlers import game_handlers
from bets.liabilities import current_exposure, promised_micros
from bets.quotes import EXPOSURE_KEY, EXPOSURE_KIND
from bets.settlement import lag_s
from ops.archive.removal import RemovalHandler
from ops.backup import restore
from ops.lock import AlreadyRunning, FolderLock
from pricefeed.board import FEED_KEY, FEED_KIND, board
from taptrading import clock, collector, disk, hub, vitals
from wallet import balances
from wallet.checkpoints import Checkpointer
from wallet.keys import KeyHandler
from wallet.nonces import Nonces
from wallet.player_limits import PlayerLimitsHandler
from wallet.server import WriterServer
from wallet.transfers import TransferHandler
from wallet.writer import Handler, Writer

log = logging.getLogger(__name__)

# Whoever starts late, or finds Redis emptied, knows exposure and balances again within this time.
REPEAT_S = 1.0


class Command(BaseCommand):
    help = "Run the writer until SIGTERM or SIGINT."
    requires_system_checks = []

    def handle(self, **_: Any) -> None:
        # Django forbids its database on an event loop's thread, for a loop that serves many. This
        # one serves batches, one at a time, and each is meant to have the thread to itself.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
        lock = FolderLock(settings.WRITER_SOCKET.with_suffix(".lock"))
        try:
            lock.take()
            restore.make_sure_it_is_whole()
        except AlreadyRunning as error:
            raise CommandError(f"another writer serves {settings.WRITER_SOCKET}") from error
        except restore.CutShort as error:
            raise CommandError(str(error)) from error
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run())


async def _run() -> None:
    tune_connection()
    store = balances.client(settings.REDIS_URL)
    server = _server(store)
    checkpointer = Checkpointer()
    checkpointer.start()
    disk.watch.start()
    collector.spare()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    board.listeners.append(lambda _: server.wake())
    hub.on(FEED_KIND, board.receive)
    await _read_board(store)
    serving = asyncio.create_task(server.serve())
    helping = [
        asyncio.create_task(hub.run()),
        asyncio.create_task(_repeat(server, store)),
        asyncio.create_task(vitals.pulse("writer")),
    ]
    try:
        # Without its helpers a writer would go on deaf or dumb: better to end and start again.
        await asyncio.wait([serving, *helping], return_when=asyncio.FIRST_COMPLETED)
        server.stop()
        await serving
        for task in helping:
            if task.done():
                task.result()
    finally:
        for task in helping:
            task.cancel()
        await asyncio.gather(*helping, return_exceptions=True)
        checkpointer.stop()
        disk.watch.stop()
        await store.aclose()


def tune_connection() -> None:
    """The writer retries by itself, and counts."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout=100")


def _server(store: "redis.asyncio.Redis") -> WriterServer:
    nonces = Nonces(node=settings.NODE)
    handlers: list[Handler] = [
        TransferHandler(promised_micros),
        KeyHandler(),
        PlayerLimitsHandler(),
        *game_handlers(nonces, board),
        RemovalHandler(),
    ]

    async def publish(kind: str, payload: bytes) -> None:
        try:
            if kind == balances.KIND:
                await balances.store(store, payload)
                return
            if kind == EXPOSURE_KIND:
                await store.set(EXPOSURE_KEY, payload)
        except RedisError as error:
            log.warning("%s not stored: %s", kind, error)
        if kind != balances.KIND:
            await hub.publish(kind, payload)

    return WriterServer(Writer(handlers, node=settings.NODE), settings.WRITER_SOCKET, publish)


async def _read_board(store: "redis.asyncio.Redis") -> None:
    """The price as it is now: the next message may be 100 ms away."""
    try:
        state = await store.get(FEED_KEY)
    except RedisError as error:
        log.warning("no price from Redis yet: %s", error)
    else:
        if isinstance(state, bytes):
            board.receive(state)


async def _repeat(server: WriterServer, store: "redis.asyncio.Redis") -> None:
    """Tell the exposure again and again; all balances at the start and when they are gone."""
    rebuilt = False
    while True:
        try:
            server.tell(current_exposure())
            counts.SETTLEMENT_LAG.set(lag_s(clock.now_us()))
            if not rebuilt or await balances.is_missing(store):
                for chunk in balances.everything():
                    server.tell(chunk)
                    await asyncio.sleep(0)  # between batches, so that order is kept
                rebuilt = True
        except (DatabaseError, RedisError) as error:
            log.warning("exposure and balances are told later: %s", error)
        await asyncio.sleep(REPEAT_S)
