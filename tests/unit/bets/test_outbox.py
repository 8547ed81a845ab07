"""What waits for a slow peer: the newest price, every bet, and never without bound."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bets import outbox as outbox_module
from bets.outbox import ROUND, DirectOutbox, PumpedOutbox, outbox_for
from taptrading.sockets import EXTENSION


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
    async with asyncio.timeout(20):
        await outbox.run()
    assert peer.got == []


async def test_run_when_the_peer_is_gone_ends() -> None:
    async def gone(message: dict[str, Any]) -> None:
        raise ConnectionResetError

    outbox = PumpedOutbox(gone)
    outbox.put("pong", tail("x"))
    async with asyncio.timeout(20):
        await outbox.run()


# Straight to the server's protocol.


class FakeWire:
    """Takes frames until it is told not to."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.write: Callable[[bytes], None] = self.writes.append
        self.on_change: Callable[[bool], None] | None = None
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def takes(self, frames: bool) -> None:
        assert self.on_change is not None
        self.on_change(frames)

    @property
    def texts(self) -> list[str]:
        """Each frame of less than 126 bytes: two bytes of header, then text."""
        data, found = b"".join(self.writes), []
        while data:
            assert data[0] == 0x81
            found.append(data[2 : 2 + data[1]].decode())
            data = data[2 + data[1] :]
        return found


class Direct:
    """An outbox on a fake wire, running."""

    def __init__(self, limit: int = 256) -> None:
        self.peer = Peer()
        self.wire = FakeWire()
        self.outbox = DirectOutbox(self.peer.send, self.wire, limit)
        self.running = asyncio.create_task(self.outbox.run())

    async def end(self) -> None:
        self.outbox.stop()
        async with asyncio.timeout(20):
            await self.running


async def test_put_when_two_frames_wait_sends_both_in_one_write() -> None:
    direct = Direct()
    direct.outbox.put("price.tick", tail("p1"))
    direct.outbox.put("grid.update", tail("g1"))
    await settle()
    direct.outbox.put("price.tick", tail("p2"))
    await settle()
    await direct.end()
    assert direct.wire.texts == ['{"seq":1,p1}', '{"seq":2,g1}', '{"seq":3,p2}']
    assert len(direct.wire.writes) == 2


async def test_put_when_the_wire_is_full_keeps_the_newest_price_and_every_bet() -> None:
    direct = Direct()
    direct.wire.takes(False)
    for number in range(100):
        direct.outbox.put("price.tick", tail(f"p{number}"))
        if number in (3, 50):
            direct.outbox.put("bet.confirmed", tail(f"bet{number}"))
        await settle()
    assert direct.wire.writes == []
    direct.wire.takes(True)
    await settle()
    await direct.end()
    assert direct.wire.texts == ['{"seq":1,p99}', '{"seq":2,bet3}', '{"seq":3,bet50}']


async def test_put_when_bets_pile_up_on_a_full_wire_closes_with_4408_once_it_takes_more() -> None:
    direct = Direct(limit=3)
    direct.wire.takes(False)
    for number in range(4):
        direct.outbox.put("bet.confirmed", tail(str(number)))
    await settle()
    assert direct.peer.got == []
    direct.wire.takes(True)
    async with asyncio.timeout(20):
        await direct.running
    assert direct.peer.got == [{"type": "websocket.close", "code": 4408}]
    assert direct.wire.writes == []


async def test_close_when_frames_wait_for_the_wire_sends_them_first() -> None:
    direct = Direct()
    direct.wire.takes(False)
    direct.outbox.put("server.shutdown", tail("x"))
    direct.outbox.close(1012)
    direct.outbox.put("price.tick", tail("late"))
    await settle()
    direct.wire.takes(True)
    async with asyncio.timeout(20):
        await direct.running
    assert direct.wire.texts == ['{"seq":1,x}']
    assert direct.peer.got == [{"type": "websocket.close", "code": 1012}]


async def test_put_when_the_wire_takes_nothing_for_long_aborts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "SEND_PATIENCE_S", 0.01)
    direct = Direct()
    direct.wire.takes(False)
    direct.outbox.put("price.tick", tail("x"))
    async with asyncio.timeout(20):
        await direct.running
    assert direct.wire.aborted
    assert (direct.wire.writes, direct.peer.got) == ([], [])


async def test_put_when_the_wire_was_full_for_a_moment_waits_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "SEND_PATIENCE_S", 0.02)
    direct = Direct()
    direct.wire.takes(False)
    direct.outbox.put("price.tick", tail("x"))
    await settle()
    direct.wire.takes(True)
    await asyncio.sleep(0.04)
    assert not direct.wire.aborted
    await direct.end()


async def test_close_when_the_peer_never_takes_it_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "SEND_PATIENCE_S", 0.01)
    direct = Direct()
    direct.peer.reading.clear()
    direct.outbox.close(1012)
    async with asyncio.timeout(20):
        await direct.running
    assert direct.wire.aborted


async def test_stop_when_a_close_waits_for_the_wire_ends_at_once() -> None:
    direct = Direct()
    direct.wire.takes(False)
    direct.outbox.close(1012)
    await settle()
    await direct.end()
    assert direct.peer.got == []


async def test_walk_when_prices_are_due_everywhere_carries_a_bet_after_one_round() -> None:
    many = [Direct() for _ in range(ROUND * 3)]
    for direct in many:
        direct.outbox.put("price.tick", tail("p"))
    last = many[-1]
    await asyncio.sleep(0)  # one round
    last.outbox.put("bet.confirmed", tail("bet"))
    await asyncio.sleep(0)
    # What waited for that socket went along; most of the others still wait for their price.
    assert last.wire.texts == ['{"seq":1,p}', '{"seq":2,bet}']
    assert sum(len(direct.wire.writes) for direct in many) <= ROUND * 2
    await settle()
    assert all(direct.wire.writes for direct in many)
    for direct in many:
        await direct.end()


async def test_walk_when_one_wire_is_broken_reaches_the_others() -> None:
    def broken(frames: bytes) -> None:
        raise RuntimeError("no such transport")

    wire = FakeWire()
    wire.write = broken
    bad = DirectOutbox(Peer().send, wire)
    running = asyncio.create_task(bad.run())
    good = Direct()
    for outbox in (bad, good.outbox):
        outbox.put("price.tick", tail("p"))
    async with asyncio.timeout(20):
        await running
    assert wire.aborted
    assert good.wire.texts == ['{"seq":1,p}']
    await good.end()


async def test_outbox_for_when_the_server_offers_no_wire_sends_by_asgi() -> None:
    peer = Peer()
    assert isinstance(outbox_for({"extensions": {EXTENSION: FakeWire()}}, peer.send), DirectOutbox)
    assert isinstance(outbox_for({"extensions": {}}, peer.send), PumpedOutbox)
    assert isinstance(outbox_for({}, peer.send), PumpedOutbox)
