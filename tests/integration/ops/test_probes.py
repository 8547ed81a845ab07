"""Probes, and the embedded Valkey that the first of them asks."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio

from ops import embedded, probes
from ops.preparing import web_listeners
from ops.supervisor import Part, Supervisor
from tests.stack import free_port


@pytest.fixture
def socket() -> Iterator[Path]:
    """In a folder of its own with a short name: the kernel takes 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tap-") as folder:
        yield Path(folder, "s")


async def test_listens_when_another_shares_the_address_then_each_speaks_for_itself() -> None:
    with web_listeners("127.0.0.1", free_port(), 2) as (first, second):
        assert not await probes.listens(first)()

        first.listen()

        assert await probes.listens(first)()
        assert not await probes.listens(second)()


async def test_socket_accepts_when_socket_is_stale_then_not_up(socket: Path) -> None:
    probe = probes.socket_accepts(socket)
    assert not await probe()

    server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), socket)
    async with server:
        assert await probe()
    await server.wait_closed()
    assert not await probe()


async def test_valkey_when_killed_under_the_supervisor_then_comes_back_with_its_data(
    socket: Path,
) -> None:
    ups: asyncio.Queue[str] = asyncio.Queue()
    command = embedded.server_command(
        embedded.find_server(), socket=socket, folder=socket.parent / "data"
    )
    supervisor = Supervisor(
        [Part("valkey", command, probe=probes.valkey_answers(socket))],
        folder=socket.parent,
        say=lambda part, line: None,
        on_up=lambda name, took_s: ups.put_nowait(name),
    )
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(20), redis.asyncio.Redis(unix_socket_path=str(socket)) as client:
        await ups.get()
        await client.set("kept", "yes")
        os.kill((await client.info("server"))["process_id"], signal.SIGKILL)
        await ups.get()

        assert await client.get("kept") == b"yes"
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    supervisor.stop()
    await running
