"""The stream against a real WebSocket server that misbehaves on cue."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from taptrading.client import ApiError, Frame, OutcomeUnknown, SignedBet, Stream, Unreachable
from taptrading.client.stream import BackOff

Handler = Callable[["Peer"], Awaitable[None]]
BET: dict[str, Any] = {
    "bet_id": "7",
    "status": "accepted",
    "cell_id": "1764000010_9500000_9501000",
    "stake_micros": 1_000_000,
    "min_rate_bps": 12_000,
    "rate_bps": None,
    "potential_payout_micros": None,
    "payout_micros": None,
    "nonce": "n",
    "accepted_at": "2026-01-02T03:04:05.000Z",
    "confirmed_at": None,
    "resolved_at": None,
    "reason": "",
}
REQUEST = SignedBet(
    wallet="0x1",
    cell_id=str(BET["cell_id"]),
    stake_micros=1_000_000,
    min_rate_bps=12_000,
    nonce="n",
    timestamp=1,
    chain_id=1,
    signature="0x",
)


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.seq = 0

    async def hear(self) -> dict[str, Any]:
        return dict(json.loads(await self.socket.recv()))

    async def say(self, type_: str, data: dict[str, Any] | None = None, seq: int = 0) -> None:
        self.seq = seq or self.seq + 1
        await self.socket.send(json.dumps({"seq": self.seq, "type": type_, "data": data or {}}))

    async def linger(self) -> None:
        """Until the client goes away."""
        try:
            async for _ in self.socket:
                pass
        except ConnectionClosed:
            pass


@asynccontextmanager
async def _server(*handlers: Handler) -> AsyncIterator[str]:
    """One handler a connection, in order; the last one serves all the rest."""
    waiting = list(handlers)

    async def handle(socket: ServerConnection) -> None:
        handler = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        await handler(Peer(socket))

    async with serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws/v1"


def _stream(url: str, **options: Any) -> Stream:
    async def no_sleep(_: float) -> None:
        await asyncio.sleep(0)

    usual: dict[str, Any] = {"sleep": no_sleep, "rng": random.Random(1)}
    return Stream(url, **(usual | options))


async def _take(stream: Stream, count: int) -> list[Frame]:
    frames = []
    async for frame in stream:
        frames.append(frame)
        if len(frames) == count:
            break
    return frames


async def test_stream_when_connected_signs_in_then_subscribes() -> None:
    heard: list[dict[str, Any]] = []

    async def handle(peer: Peer) -> None:
        heard.extend([await peer.hear(), await peer.hear()])
        await peer.say("auth.ok", {"address": "0x1"})
        await peer.say("price.tick", {"price_cents": 5})
        await peer.linger()

    async with _server(handle) as url:
        frames = await _take(_stream(url, token="t", channels=["price", "bets"], since=4), 2)

    assert heard == [
        {"op": "auth", "token": "t"},
        {"op": "subscribe", "channels": ["price", "bets"], "since": 4},
    ]
    assert [frame.kind for frame in frames] == ["auth.ok", "price.tick"]
    assert frames[1].read(dict[str, int]) == {"price_cents": 5}


@pytest.mark.parametrize("turns", range(5))
async def test_stream_when_cancelled_as_frames_arrive_then_it_ends(turns: int) -> None:
    async def handle(peer: Peer) -> None:
        for _ in range(20):
            await peer.say("price.tick")
        await peer.linger()

    async def listen(stream: Stream) -> None:
        async for frame in stream:
            if frame.seq == 5:  # while more of them lie there already
                cancel_after(turns)

    def cancel_after(turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(cancel_after, turns - 1)
        else:
            listening.cancel()

    async with _server(handle) as url:
        listening = asyncio.create_task(listen(_stream(url)))
        done, _ = await asyncio.wait({listening}, timeout=20)
        assert done == {listening}
        assert listening.cancelled()


async def test_stream_when_a_number_is_missing_reconnects_from_its_cursor() -> None:
    heard: list[dict[str, Any]] = []

    async def skip(peer: Peer) -> None:
        await peer.say("snapshot", {"balance_micros": 1, "open": [], "missed": [], "cursor": 41})
        await peer.say("bet.confirmed", BET | {"cursor": 42, "balance_micros": 1})
        await peer.say("price.tick", seq=9)
        await peer.linger()

    async def whole(peer: Peer) -> None:
        heard.append(await peer.hear())
        await peer.say("snapshot", {"balance_micros": 1, "open": [], "missed": [], "cursor": 43})
        await peer.linger()

    async with _server(skip, whole) as url:
        stream = _stream(url, channels=["bets"])
        frames = await _take(stream, 3)

    assert [frame.kind for frame in frames] == ["snapshot", "bet.confirmed", "snapshot"]
    assert heard == [{"op": "subscribe", "channels": ["bets"], "since": 42}]
    assert stream.reconnects == 1
    assert stream.cursor == 43


async def test_stream_when_an_event_comes_again_hands_it_on_once() -> None:
    async def handle(peer: Peer) -> None:
        await peer.say("snapshot", {"balance_micros": 1, "open": [], "missed": [], "cursor": 42})
        await peer.say("bet.confirmed", BET | {"cursor": 42})
        await peer.say("bet.resolved", BET | {"cursor": 43})
        await peer.say("bet.resolved", BET | {"cursor": 43})
        await peer.say("pong")
        await peer.linger()

    async with _server(handle) as url:
        frames = await _take(_stream(url, channels=["bets"]), 3)

    assert [frame.kind for frame in frames] == ["snapshot", "bet.resolved", "pong"]


@pytest.mark.parametrize("garbage", ["{", '{"seq": "1", "type": "pong"}', "[]"])
async def test_stream_when_a_frame_is_garbage_reconnects(garbage: str) -> None:
    async def confused(peer: Peer) -> None:
        await peer.socket.send(garbage)
        await peer.linger()

    async def sound(peer: Peer) -> None:
        await peer.say("pong")
        await peer.linger()

    async with _server(confused, sound) as url:
        frames = await _take(_stream(url), 1)

    assert frames[0].kind == "pong"


async def test_stream_when_the_token_is_refused_raises() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.hear()
        await peer.socket.close(4401)

    async with _server(refuse) as url:
        with pytest.raises(ApiError, match="unauthenticated"):
            await _take(_stream(url, token="t"), 1)


async def test_stream_when_the_platform_shuts_down_comes_back_when_told_to() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def leave(peer: Peer) -> None:
        await peer.say("server.shutdown", {"reconnect_after_ms": 1_250})
        await peer.socket.close(1012)

    async def stay(peer: Peer) -> None:
        await peer.say("pong")
        await peer.linger()

    async with _server(leave, stay) as url:
        await _take(_stream(url, sleep=sleep), 2)

    assert slept == [1.25]


async def test_stream_when_the_platform_stays_away_backs_off_then_is_unreachable() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with _server(Peer.linger) as url:
        pass
    back_off = BackOff(first_s=1.0, most_s=4.0, attempts=6)

    with pytest.raises(Unreachable, match="stays away"):
        await _take(_stream(url, sleep=sleep, back_off=back_off), 1)

    assert len(slept) == 5
    assert all(
        0 <= pause_s <= most_s for pause_s, most_s in zip(slept, (2, 4, 4, 4, 4), strict=True)
    )


async def test_stream_when_the_platform_falls_silent_reconnects() -> None:
    async def wake(peer: Peer) -> None:
        await peer.say("pong")
        await peer.linger()

    async with _server(Peer.linger, wake) as url:
        frames = await _take(_stream(url, silence_s=0.05), 1)

    assert frames[0].kind == "pong"


async def _running(stream: Stream) -> tuple[asyncio.Task[None], list[str]]:
    seen: list[str] = []
    first = asyncio.Event()

    async def run() -> None:
        async for frame in stream:
            seen.append(frame.kind)
            first.set()

    task = asyncio.create_task(run())
    await first.wait()
    return task, seen


async def test_bet_when_accepted_over_the_socket_returns_the_bet() -> None:
    heard: list[dict[str, Any]] = []

    async def handle(peer: Peer) -> None:
        await peer.hear()
        await peer.say("subscribed", {"channels": ["price"]})
        heard.append(await peer.hear())
        await peer.say("bet.accepted", BET | {"id": heard[0]["id"], "balance_micros": 9})
        await peer.linger()

    async with _server(handle) as url:
        stream = _stream(url)
        task, _ = await _running(stream)
        bet = await stream.bet(REQUEST)
        task.cancel()

    assert (bet.bet_id, bet.balance_micros) == ("7", 9)
    assert {key: value for key, value in heard[0].items() if key != "id"} == {
        "op": "bet",
        "wallet": "0x1",
        "cell_id": BET["cell_id"],
        "stake_micros": 1_000_000,
        "min_rate_bps": 12_000,
        "nonce": "n",
        "timestamp": 1,
        "chain_id": 1,
        "signature": "0x",
    }


async def test_bet_when_refused_over_the_socket_raises_the_code() -> None:
    async def handle(peer: Peer) -> None:
        await peer.hear()
        await peer.say("subscribed", {"channels": ["price"]})
        id_ = (await peer.hear())["id"]
        refusal = {"id": id_, "error": "cell_taken", "message": "Taken.", "detail": {"a": 1}}
        await peer.say("bet.rejected", refusal)
        await peer.linger()

    async with _server(handle) as url:
        stream = _stream(url)
        task, seen = await _running(stream)
        with pytest.raises(ApiError) as caught:
            await stream.bet(REQUEST)
        task.cancel()

    assert (caught.value.code, caught.value.detail) == ("cell_taken", {"a": 1})
    assert seen == ["subscribed"]


async def test_bet_when_the_connection_is_lost_is_unknown() -> None:
    async def handle(peer: Peer) -> None:
        await peer.hear()
        await peer.say("subscribed", {"channels": ["price"]})
        await peer.hear()
        await peer.socket.close(1011)

    async with _server(handle) as url:
        stream = _stream(url)
        task, _ = await _running(stream)
        with pytest.raises(OutcomeUnknown):
            await stream.bet(REQUEST)
        task.cancel()


async def test_bet_when_not_connected_was_not_sent() -> None:
    with pytest.raises(Unreachable):
        await _stream("ws://127.0.0.1:1/ws/v1").bet(REQUEST)
