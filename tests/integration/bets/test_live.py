"""From the hub's messages to the frames of real sockets, over a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator

from bets import live as live_module
from bets.consumers import Ports, TraderSocket
from bets.live import Live
from bets.quotes import EXPOSURE_KEY, EXPOSURE_KIND, ExposureState, Quotes
from bets.wire import BetFacts
from pricefeed.board import FEED_KEY, FEED_KIND, Board, FeedState, TickRecord, encode
from taptrading import clock, hub
from tests.servers import Valkey, valkey_server
from wallet import events
from wallet.authentication import Trader
from wallet.directory import Directory, WalletFacts
from wallet.events import Event

ALICE = Trader(7, "0x" + "a1" * 20, "good")


@pytest.fixture
def server(tmp_path: Path, settings: Any) -> Iterator[Valkey]:
    with valkey_server(tmp_path) as running:
        settings.REDIS_URL = running.url
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [running.url], "prefix": "tap"},
            }
        }
        yield running


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    """A process that knows nothing yet."""
    fresh = Board()
    monkeypatch.setattr(live_module, "board", fresh)
    monkeypatch.setattr(live_module, "quotes", Quotes(fresh.refusal))
    monkeypatch.setattr(live_module, "directory", Directory())
    monkeypatch.setattr(live_module, "PULSE_S", 0.05)
    return fresh


def feed(seq: int, breaker: str = "closed", reason: str = "") -> bytes:
    """A tick of this moment; times move with `seq` so that each is newer than the last."""
    at_ms = clock.now_ms() // 100 * 100 + seq
    tick = TickRecord(seq, at_ms, 9_500_000 + seq, 400_000, 0, "simulated")
    return encode(FeedState(tick, breaker, "auto", reason))


@asynccontextmanager
async def running() -> AsyncIterator[Live]:
    live = Live()
    subscribed = asyncio.Event()
    end = hub.on_gap(subscribed.set)
    await live.start()
    async with asyncio.timeout(20):
        await subscribed.wait()
    try:
        yield live
    finally:
        end()
        await live.stop()
        await get_channel_layer().flush()


class Socket:
    """A connected trader's end."""

    def __init__(self, cursor: int = 10) -> None:
        self.snapshots = 0
        self._cursor = cursor
        ports = Ports(self._place, {"good": ALICE}.get, self._snapshot, live_module.current_frame)
        self.peer = WebsocketCommunicator(TraderSocket.as_asgi(ports=ports), "/ws/v1")

    def _snapshot(self, wallet_id: int, since: int | None) -> dict[str, Any]:
        self.snapshots += 1
        return {"cursor": self._cursor}

    async def _place(self, body: dict[str, Any], address: str) -> tuple[bool, dict[str, Any]]:
        raise AssertionError("no bets here")

    async def subscribe(self, *channels: str) -> None:
        await self.peer.connect()
        if "bets" in channels:
            await self.peer.send_json_to({"op": "auth", "token": "good"})
        await self.peer.send_json_to({"op": "subscribe", "channels": channels})
        await self.next("subscribed")

    async def next(self, type: str) -> dict[str, Any]:
        """The next frame of this type; others are passed over."""
        async with asyncio.timeout(10):
            while True:
                frame: dict[str, Any] = await self.peer.receive_json_from(timeout=10)
                if frame["type"] == type:
                    data: dict[str, Any] = frame["data"]
                    return data


def room_micros(grid: dict[str, Any]) -> int | None:
    """The most room of any cell; None where no cell is offered."""
    rooms = [room for row in grid["room_micros"] for room in row if room is not None]
    return max(rooms, default=None)


async def test_tick_when_published_reaches_the_sockets(server: Valkey, board: Board) -> None:
    socket = Socket()
    async with running():
        await socket.subscribe("price", "grid", "status")
        assert (await socket.next("system.status"))["breaker"] == "open"
        await hub.publish(FEED_KIND, feed(1))
        price = await socket.next("price.tick")
        assert set(price) == {"price_cents", "at", "seq", "age_ms"}
        assert (price["seq"], price["price_cents"]) == (1, 9_500_001)
        assert (await socket.next("system.status"))["breaker"] == "closed"
        grid = await socket.next("grid.update")
        assert len(grid["column_starts"]) == len(grid["rates_bps"]) == 11
        assert {len(row) for row in grid["rates_bps"]} == {24}
        await hub.publish(FEED_KIND, feed(2, "open", "sources disagree"))
        assert (await socket.next("system.status"))["reason"] == "sources disagree"
    assert 500 <= (await socket.next("server.shutdown"))["reconnect_after_ms"] < 5_000


async def test_start_when_redis_knows_the_present_knows_it_too(
    server: Valkey, board: Board
) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set(FEED_KEY, feed(5))
        client.set(EXPOSURE_KEY, msgspec.msgpack.encode(ExposureState(10_000_000_000, [])))
    socket = Socket()
    async with running():
        assert board.tick is not None
        assert board.tick.seq == 5
        await socket.subscribe("grid")
        room = room_micros(await socket.next("grid.update"))
        assert room is not None
        assert room > 0


async def test_exposure_when_published_changes_the_room(server: Valkey, board: Board) -> None:
    socket = Socket()
    async with running():
        await hub.publish(FEED_KIND, feed(1))
        await socket.subscribe("grid")
        while (before := room_micros(await socket.next("grid.update"))) is None:
            pass  # the tick was still on its way
        state = msgspec.msgpack.encode(ExposureState(10_000_000_000, []))
        await hub.publish(EXPOSURE_KIND, state)
        assert before == 0
        # Grids also come by the clock: one made before the exposure arrived may still be ahead.
        async with asyncio.timeout(10):
            while not room_micros(await socket.next("grid.update")):
                pass


async def test_batch_when_published_reaches_its_wallet_only(server: Valkey, board: Board) -> None:
    socket = Socket()
    facts = WalletFacts(9, "0x9", False, {})
    live_module.directory.remember(facts, live_module.directory.generation)
    async with running():
        await socket.subscribe("bets")
        await socket.next("snapshot")
        live_module.directory.remember(facts, live_module.directory.generation)
        bet = BetFacts(
            5, "confirmed", 100, 1_000, 2_000, 7, 8, 30_000, None, "0" * 32, 1, 2, None, ""
        )
        batch = [
            Event(8, "bet.confirmed", 11, 1, bet._replace(id=6)),
            Event(9, "key.changed", 0, 0, {}),
            Event(7, "bet.confirmed", 11, 99, bet),
            Event(7, "wallet.balance", 12, 98, {"address": "0x7"}),
        ]
        await hub.publish(events.KIND, events.encode(1, 1, batch))
        told = await socket.next("bet.confirmed")
        assert told == {**bet.json(), "cursor": 11, "balance_micros": 99}
        assert (told["bet_id"], told["potential_payout_micros"]) == ("5", 21)
        told = await socket.next("wallet.balance")
        assert told == {"address": "0x7", "cursor": 12, "balance_micros": 98}
        assert live_module.directory.find("0x9") is None


@pytest.mark.parametrize("second", [(1, 3), (2, 1)])
async def test_batch_when_one_before_it_is_missing_brings_a_snapshot(
    server: Valkey, board: Board, second: tuple[int, int]
) -> None:
    socket = Socket()
    async with running():
        await socket.subscribe("bets")
        await socket.next("snapshot")
        await hub.publish(events.KIND, events.encode(1, 1, []))
        await hub.publish(events.KIND, events.encode(*second, []))
        await socket.next("snapshot")
        assert socket.snapshots == 2


async def test_server_when_it_comes_back_brings_a_snapshot_and_the_present(
    server: Valkey, board: Board
) -> None:
    socket = Socket()
    async with running():
        await socket.subscribe("bets")
        await socket.next("snapshot")
        server.stop()
        assert not await hub.publish(FEED_KIND, b"lost")
        server.start()
        with redis.Redis.from_url(server.url) as client:
            client.set(FEED_KEY, feed(7))
        await socket.next("snapshot")
        async with asyncio.timeout(10):
            while board.tick is None:
                await asyncio.sleep(0.02)


async def test_pulse_when_time_passes_beats_and_sees_the_feed_die(
    server: Valkey, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket()
    async with running():
        await hub.publish(FEED_KIND, feed(1))
        await socket.subscribe("status", "price")
        await socket.next("price.tick")
        beat = await socket.next("heartbeat")
        assert set(beat) == {"server_time", "tick_seq", "tick_age_ms", "breaker"}
        assert (beat["tick_seq"], beat["breaker"]) == (1, "closed")
        # No message says so: the newest tick has simply grown old.
        assert board.tick is not None
        board.tick = msgspec.structs.replace(board.tick, at_ms=clock.now_ms() - 11_000)
        status = await socket.next("system.status")
        assert (status["breaker"], status["reason"]) == ("open", "the index price is old")
