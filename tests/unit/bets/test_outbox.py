"""What waits for a slow peer: the newest price, every bet, and never without bound."""

import asyncio
from typing import Any

import pytest

from bets import outbox as outbox_module
from bets.outbox import PumpedOutbox


class Peer:
    """Takes messages while `reading` is set."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def send(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        self.got.append(message)

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.got if "text" in message]


def tail(text: str) -> bytes:
    return f",{text}}}".encode()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_run_when_frames_come_numbers_them_in_order() -> None:
    peer = Peer()
    outbox = PumpedOutbox(peer.send)
    outbox.put("pong", tail("a"))
    running = asyncio.create_task(outbox.run())
    await settle()
    outbox.put("price.tick", tail("b"))
    await settle()
    outbox.stop()
    await running
    assert peer.texts == ['{"seq":1,a}', '{"seq":2,b}']


async def test_put_when_the_peer_is_slow_keeps_only_the_newest_price() -> None:
    peer = Peer()
    peer.reading.clear()
    outbox = PumpedOutbox(peer.send)
    running = asyncio.create_task(outbox.run())
    outbox.put("price.tick", tail("p0"))
    await settle()  # p0 is on its way, and stuck
    for number in range(1, 100):
        outbox.put("price.tick", tail(f"p{number}"))
        outbox.put("grid.update", tail(f"g{number}"))
    outbox.put("bet.confirmed", tail("bet"))
    peer.reading.set()
    await settle()
    outbox.stop()
    await running
    # Nothing is numbered that is not sent: seq has no holes.
    assert peer.texts == ['{"seq":1,p0}', '{"seq":2,p99}', '{"seq":3,g99}', '{"seq":4,bet}']


async def test_put_when_bets_pile_up_closes_with_4408() -> None:
    peer = Peer()
    outbox = PumpedOutbox(peer.send, limit=3)
    for number in range(4):
        outbox.put("bet.confirmed", tail(str(number)))
    outbox.put("bet.confirmed", tail("late"))
    await outbox.run()
    assert peer.got == [{"type": "websocket.close", "code": 4408}]


async def test_close_when_frames_wait_sends_them_first() -> None:
    peer = Peer()
    outbox = PumpedOutbox(peer.send)
    outbox.put("server.shutdown", tail("x"))
    outbox.close(1012)
    outbox.close(4401)
    await outbox.run()
    assert peer.texts == ['{"seq":1,x}']
    assert peer.got[-1] == {"type": "websocket.close", "code": 1012}


async def test_run_when_the_peer_takes_nothing_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "SEND_PATIENCE_S", 0.01)
    peer = Peer()
    peer.reading.clear()
    outbox = PumpedOutbox(peer.send)
    outbox.put("pong", tail("x"))
    await asyncio.wait_for(outbox.run(), 1)
    assert peer.got == []


async def test_run_when_the_peer_is_gone_ends() -> None:
    async def gone(message: dict[str, Any]) -> None:
        raise ConnectionResetError

    outbox = PumpedOutbox(gone)
    outbox.put("pong", tail("x"))
    await asyncio.wait_for(outbox.run(), 1)
