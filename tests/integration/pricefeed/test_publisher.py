"""The feed's end of Redis, against a real server that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from pricefeed.board import FEED_KEY, FeedState, TickRecord, decode
from pricefeed.publisher import Publisher, connect, hear_overrides
from tests.servers import Valkey, valkey_server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with valkey_server(tmp_path) as server:
        yield server


def state(seq: int) -> FeedState:
    return FeedState(TickRecord(seq, seq * 100, 9_500_000, 600_000, 1, "a"), "closed", "auto", "")


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.01)


class Hub:
    """Numbers of the ticks that went out; the transport may be down."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.up = True

    async def publish(self, kind: str, payload: bytes) -> bool:
        assert kind == "feed"
        tick = decode(payload).tick
        if self.up and tick is not None:
            self.seqs.append(tick.seq)
        return self.up


@asynccontextmanager
async def publishing(url: str, hub: Hub) -> AsyncIterator[Publisher]:
    async with connect(url) as client:
        publisher = Publisher(client, hub.publish)
        running = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def stored(valkey: Valkey) -> FeedState | None:
    with redis.Redis.from_url(valkey.url) as client:
        payload = client.get(FEED_KEY)
    return decode(payload) if isinstance(payload, bytes) else None


async def test_offer_states_when_redis_is_there_then_published_in_order_and_kept(
    valkey: Valkey,
) -> None:
    hub = Hub()
    async with publishing(valkey.url, hub) as publisher:
        for seq in (1, 2, 3):
            publisher.offer(state(seq))
        await until(lambda: hub.seqs == [1, 2, 3])
        assert stored(valkey) == state(3)
        assert await publisher.left_behind() == state(3)
        await publisher.forget()
        assert await publisher.left_behind() is None


async def test_offer_states_when_redis_goes_away_then_sent_when_it_is_back(
    valkey: Valkey,
) -> None:
    hub = Hub()
    async with publishing(valkey.url, hub) as publisher:
        publisher.offer(state(1))
        await until(lambda: hub.seqs == [1])
        valkey.stop()
        for seq in range(2, 300):  # more than the queue holds: offering never waits
            publisher.offer(state(seq))
        await asyncio.sleep(0.1)
        valkey.start()
        await until(lambda: hub.seqs[-1] == 299)
    assert hub.seqs == [1, *range(200, 300)]
    assert stored(valkey) == state(299)


async def test_offer_state_when_only_the_channel_layer_is_down_then_tried_again(
    valkey: Valkey,
) -> None:
    hub = Hub()
    hub.up = False
    async with publishing(valkey.url, hub) as publisher:
        publisher.offer(state(1))
        await until(lambda: stored(valkey) is not None)
        hub.up = True
        await until(lambda: hub.seqs == [1])


async def test_forget_when_states_are_still_waiting_then_none_comes_after(
    valkey: Valkey,
) -> None:
    async with publishing(valkey.url, Hub()) as publisher:
        for seq in range(1, 50):
            publisher.offer(state(seq))
        await asyncio.sleep(0)
        await publisher.forget()
        await asyncio.sleep(0.1)
        assert stored(valkey) is None


async def test_read_left_behind_when_it_is_rubbish_then_none(valkey: Valkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set(FEED_KEY, b"rubbish")
    async with publishing(valkey.url, Hub()) as publisher:
        assert await publisher.left_behind() is None


async def test_hear_overrides_when_redis_restarts_then_heard_again(valkey: Valkey) -> None:
    heard: list[str] = []

    async def take(text: str) -> None:
        heard.append(text)

    def shouted(text: str) -> bool:
        with redis.Redis.from_url(valkey.url) as client:
            client.publish("circuit:override", text)
        return text in heard

    async with connect(valkey.url) as client:
        listening = asyncio.create_task(hear_overrides(client, take))
        await until(lambda: shouted("open"))
        valkey.stop()
        await asyncio.sleep(0.05)
        valkey.start()
        await until(lambda: shouted("auto"))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
