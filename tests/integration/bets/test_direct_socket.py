"""Frames that go past ASGI, over a real server and real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bets import outbox as outbox_module
from bets.consumers import Ports, TraderSocket
from bets.outbox import DirectOutbox
from bets.roster import roster
from taptrading import hub

BIG = b"x" * 4_000
TICKS = 3_000


async def no_bets(body: dict[str, Any], address: str) -> tuple[bool, dict[str, Any]]:
    raise AssertionError("no bets here")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    ports = Ports(no_bets, lambda token: None, lambda wallet, since: {}, lambda channel: None)
    config = uvicorn.Config(
        TraderSocket.as_asgi(ports=ports),
        port=0,
        ws="taptrading.sockets:WireProtocol",
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving
    assert len(roster) == 0


async def subscribed(port: int, receive_bytes: int | None = None) -> ClientConnection:
    """A client that subscribed to prices; reads no further than one message ahead."""
    raw = socket.socket()
    if receive_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    client = await connect("ws://127.0.0.1/ws/v1", sock=raw, max_queue=1, compression=None)
    await client.send(json.dumps({"op": "subscribe", "channels": ["price"]}))
    assert (await hear(client))["type"] == "subscribed"
    return client


async def hear(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(20):
        frame: dict[str, Any] = json.loads(await client.recv())
    return frame


async def heard_to_the_end(client: ClientConnection) -> None:
    while True:
        await hear(client)


def tick(number: int) -> None:
    hub.broadcast("price", "price.tick", b'{"n":%d,"x":"%b"}' % (number, BIG))


async def test_broadcast_when_a_reader_is_slow_conflates_for_it_alone(port: int) -> None:
    slow, quick = await subscribed(port, 8_192), await subscribed(port)
    assert all(type(one._outbox) is DirectOutbox for one in roster)
    heard = []
    for number in range(1, TICKS + 1):
        tick(number)
        heard.append((await hear(quick))["data"]["n"])
        if number == TICKS // 2:
            for one in roster:
                one.say("bet.confirmed", {"id": 1})
            assert (await hear(quick))["type"] == "bet.confirmed"
    assert heard == list(range(1, TICKS + 1))

    # The newest tick has kept the place of the first one that waited, so the bet comes last.
    frames = [await hear(slow)]
    while frames[-1]["type"] != "bet.confirmed":
        frames.append(await hear(slow))
    assert [frame["seq"] for frame in frames] == list(range(2, len(frames) + 2))
    assert frames[-2]["data"]["n"] == TICKS
    assert len(frames) < TICKS // 2
    await slow.close()
    await quick.close()


async def test_broadcast_when_a_reader_takes_nothing_ends_the_connection(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "SEND_PATIENCE_S", 0.05)
    client = await subscribed(port, 8_192)
    async with asyncio.timeout(20):
        number = 0
        while len(roster):
            number += 1
            tick(number)
            await asyncio.sleep(0)
    with pytest.raises(ConnectionClosed):
        await heard_to_the_end(client)


async def test_close_when_the_server_wants_it_has_its_code(port: int) -> None:
    client = await subscribed(port)
    tick(1)
    for one in roster:
        one.close(4401)
    assert (await hear(client))["data"]["n"] == 1
    with pytest.raises(ConnectionClosed) as closed:
        await hear(client)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
