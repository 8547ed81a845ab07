"""The writer's edges: what it takes from outside, what it does while nothing can be read."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import redis
from django.db import OperationalError, connection

from bets.placing import PlaceBet
from bets.pricing import PriceBets
from tests.factories import USDC
from tests.fakes import InProcessLink, ManualClock
from tests.servers import short_folder
from wallet import link
from wallet.checkpoints import Checkpointer
from wallet.models import Wallet
from wallet.nonces import Nonces
from wallet.protocol import Done, encode_frame
from wallet.server import WriterServer
from wallet.transfers import OpenWallet


async def nobody(kind: str, payload: bytes) -> None:
    """Listens to what is published."""


def test_kinds_when_offered_over_the_socket_then_none_that_the_writer_gives_itself(
    writer: InProcessLink,
) -> None:
    assert PlaceBet in writer.writer.kinds
    assert PriceBets not in writer.writer.kinds


@contextlib.asynccontextmanager
async def serving(writer: InProcessLink) -> AsyncIterator[str]:
    """The writer's socket. Its loop has a connection of its own to the test's database."""
    with short_folder() as folder:
        path = folder / "writer.sock"
        server = WriterServer(writer.writer, path, nobody)
        task = asyncio.create_task(server.serve())
        async with asyncio.timeout(30):
            while not path.exists():
                await asyncio.sleep(0.001)
            yield str(path)
            server.stop()
            await task


# What these store is flushed afterwards, so it may be nothing that is append-only.


@pytest.mark.django_db(transaction=True)
def test_frame_when_it_holds_an_internal_command_then_hung_up_and_not_carried_out(
    writer: InProcessLink,
) -> None:
    async def forge() -> bytes:
        async with serving(writer) as path:
            reader, stream = await asyncio.open_unix_connection(path)
            stream.write(encode_frame(1, [PriceBets([], [])]))
            reply = await reader.read()
            stream.close()
            return reply

    assert asyncio.run(forge()) == b""


@pytest.mark.django_db(transaction=True)
def test_due_work_when_it_cannot_be_read_then_it_pauses_and_requests_are_answered(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def unreadable(_: int) -> Any:
        looks.append(time.monotonic())
        raise OperationalError("disk I/O error")

    async def ask() -> None:
        async with serving(writer) as path:
            made = link.Link(path)
            made.start()
            while not made.connected:
                await asyncio.sleep(0.001)
            for number in range(20):
                assert isinstance(await made.call(OpenWallet(f"0x{number:040x}")), Done)
            await made.stop()

    monkeypatch.setattr(writer.writer, "due", unreadable)
    asyncio.run(ask())
    assert looks
    assert all(later - sooner >= 0.1 for sooner, later in pairwise(looks))
    assert Wallet.objects.filter(kind="player").count() == 20


def test_checkpointer_when_the_database_keeps_its_own_log_then_it_has_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    checkpointer = Checkpointer()
    checkpointer.start()
    assert not checkpointer._thread.is_alive()
    checkpointer.stop()


# Admission


class Memory:
    """As much of Redis as nonces ask for. Every claim finds `word` in its place."""

    def __init__(self, word: bytes) -> None:
        self.word = word
        self.pipelines = 0

    def register_script(self, text: str) -> Any:
        return lambda args: [1, self.word]

    def msetex(self, *args: Any, **options: Any) -> bool:
        return False

    def pipeline(self, **options: Any) -> Any:
        memory = self

        class Pipeline(list[str]):
            def execute(self) -> None:
                memory.pipelines += 1
                raise redis.ConnectionError("away")

            def delete(self, key: str) -> None:
                self.append(key)

            def set(self, key: str, word: bytes, px: int) -> None:
                self.append(key)

        return Pipeline()


@pytest.mark.parametrize("word", [b"!", b"!\x00", b"!not msgpack", b"node:0"])
def test_admit_when_what_is_remembered_cannot_be_read_then_the_database_decides(
    now: ManualClock, word: bytes
) -> None:
    bet = PlaceBet(1, 0, 5, 0, 1_000, USDC, 10_000, "0" * 32, 0, bytes(65))
    (admitted,) = Nonces(Memory(word)).admit([bet], now.us)
    assert admitted.refusal is None


def test_settle_when_there_is_nothing_to_say_then_redis_is_not_asked(now: ManualClock) -> None:
    memory = Memory(b"")
    nonces = Nonces(memory)
    nonces.settle([], [])
    assert memory.pipelines == 0
    bet = PlaceBet(1, 0, 5, 0, 1_000, USDC, 10_000, "0" * 32, 0, bytes(65))
    nonces.settle([bet], [])  # cannot be given back: expires by itself
    assert memory.pipelines == 1
