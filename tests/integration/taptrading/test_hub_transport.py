"""Two hubs over a real server that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from channels.layers import get_channel_layer

from taptrading.hub import Hub
from tests.servers import Valkey, valkey_server


@pytest.fixture
def server(tmp_path: Path, settings: Any) -> Iterator[Valkey]:
    with valkey_server(tmp_path) as running:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [running.url], "prefix": "tap"},
            }
        }
        yield running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run())
    await until(lambda: hub.subscriptions > 0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await get_channel_layer().flush()


async def test_publish_when_a_hub_listens_reaches_it_in_order(server: Valkey) -> None:
    hub, seen = Hub(), list[bytes]()
    hub.on("feed", seen.append)
    async with running(hub):
        for number in range(200):
            assert await hub.publish("feed", b"%d" % number)
        await until(lambda: len(seen) == 200)
    assert seen == [b"%d" % number for number in range(200)]
    assert hub.gaps == 1  # its subscription


async def test_run_when_the_server_comes_back_listens_again_and_reports_a_gap(
    server: Valkey,
) -> None:
    hub, seen, gaps = Hub(), list[bytes](), list[int]()
    hub.on("feed", seen.append)
    hub.on_gap(lambda: gaps.append(1))
    async with running(hub):
        assert await hub.publish("feed", b"before")
        await until(lambda: seen == [b"before"])
        gaps.clear()

        server.stop()
        assert not await hub.publish("feed", b"lost")
        server.start()

        await until(lambda: hub.subscriptions > 1)
        await until(lambda: bool(gaps))
        async with asyncio.timeout(20):
            while not await hub.publish("feed", b"after"):
                await asyncio.sleep(0.05)
        await until(lambda: seen[-1] == b"after")
    assert b"lost" not in seen


async def test_run_when_there_is_no_server_yet_waits_for_it(server: Valkey) -> None:
    server.stop()
    hub = Hub()
    task = asyncio.create_task(hub.run())
    try:
        await asyncio.sleep(0.1)
        assert hub.subscriptions == 0
        server.start()
        await until(lambda: hub.subscriptions == 1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await get_channel_layer().flush()
