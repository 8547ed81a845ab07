"""A whole socket: handshake, subscriptions, bets, hostile frames. Only the ports are fakes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.db import OperationalError

from bets import consumers, live
from bets.consumers import Ports, TraderSocket
from bets.roster import roster
from taptrading import hub
from taptrading.limits import LIMITS
from wallet.authentication import Trader
from wallet.events import Event

ORIGIN = "http://127.0.0.1:8000"
ALICE = Trader(7, "0x" + "a1" * 20, "good")


class House:
    """The ports: sessions, snapshots and bets as the test wants them."""

    def __init__(self) -> None:
        self.sessions: dict[str, Trader] = {"good": ALICE}
        self.cursor = 10
        self.since: list[int | None] = []
        self.snapshot_may_go = asyncio.Event()
        self.snapshot_may_go.set()
        self.database_fails = 0
        self.placed: list[dict[str, Any]] = []
        self.place_may_go = asyncio.Event()
        self.place_may_go.set()
        self.refuses: dict[str, Any] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def ports(self) -> Ports:
        return Ports(self.place, self.sessions.get, self.snapshot_of, lambda channel: None)

    def snapshot_of(self, wallet_id: int, since: int | None) -> dict[str, Any]:
        self.since.append(since)
        if self.database_fails:
            self.database_fails -= 1
            raise OperationalError("locked")
        found = {"balance_micros": 5, "open": [], "missed": [], "cursor": self.cursor}
        asyncio.run_coroutine_threadsafe(self.snapshot_may_go.wait(), self._loop).result(5)
        return found

    async def place(self, body: dict[str, Any], address: str) -> tuple[bool, dict[str, Any]]:
        self.placed.append(body)
        await self.place_may_go.wait()
        if self.refuses is not None:
            return False, self.refuses
        return True, {"nonce": body["nonce"], "status": "accepted", "cursor": self.cursor + 1}


class Peer(WebsocketCommunicator):  # type: ignore[misc]
    """The other end; checks that `seq` has no holes."""

    seq = 0

    async def hear(self) -> tuple[str, dict[str, Any]]:
        frame = await self.receive_json_from()
        self.seq += 1
        assert list(frame) == ["seq", "type", "data"]
        assert frame["seq"] == self.seq
        return frame["type"], frame["data"]

    async def say(self, **frame: Any) -> None:
        await self.send_json_to(frame)

    async def closed(self) -> int:
        while True:
            message = await self.receive_output()
            if message["type"] == "websocket.close":
                return int(message["code"])


@pytest.fixture
async def house() -> House:
    return House()


@asynccontextmanager
async def connected(
    house: House, origin: str | None = None, cookie: str | None = None
) -> AsyncIterator[Peer]:
    headers = [(b"origin", origin.encode())] if origin else []
    if cookie:
        headers.append((b"cookie", f"other=1; tap_session={cookie}".encode()))
    peer = Peer(TraderSocket.as_asgi(ports=house.ports), "/ws/v1", headers)
    assert (await peer.connect())[0]
    try:
        yield peer
    finally:
        await peer.disconnect()
        assert len(roster) == 0
        assert hub.counts()["topics"] == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def following(peer: Peer, **subscription: Any) -> dict[str, Any]:
    """Sign in, subscribe to bets and return the snapshot."""
    await peer.say(op="auth", token="good")
    assert await peer.hear() == ("auth.ok", {"address": ALICE.address})
    await peer.say(op="subscribe", channels=["bets"], **subscription)
    assert await peer.hear() == ("subscribed", {"channels": ["bets"]})
    type, data = await peer.hear()
    assert type == "snapshot"
    return data


def event(name: str, cursor: int, **data: Any) -> None:
    """What the hub does with an event of Alice's wallet."""
    live._pass_on(Event(ALICE.wallet_id, name, cursor, 100, data))


# Signing in.


async def test_connect_when_cookie_and_origin_are_right_signs_in(house: House) -> None:
    async with connected(house, ORIGIN, "good") as peer:
        assert await peer.hear() == ("auth.ok", {"address": ALICE.address})


@pytest.mark.parametrize(
    ("origin", "cookie"),
    [("http://evil.example", "good"), (None, "good"), (ORIGIN, "bad"), (ORIGIN, None)],
)
async def test_connect_when_cookie_or_origin_is_not_right_stays_signed_out(
    house: House, origin: str | None, cookie: str | None
) -> None:
    async with connected(house, origin, cookie) as peer:
        await peer.say(op="subscribe", channels=["bets"])
        type, data = await peer.hear()
        assert (type, data["error"]) == ("error", "unauthenticated")


async def test_auth_when_the_token_is_bad_closes_with_4401(house: House) -> None:
    async with connected(house) as peer:
        await peer.say(op="auth", token="bad")
        assert await peer.closed() == 4401


async def test_auth_when_another_trader_signs_in_follows_their_wallet_instead(
    house: House,
) -> None:
    bob = house.sessions["bob"] = Trader(8, "0x" + "b0" * 20, "bob")
    async with connected(house) as peer:
        await following(peer)
        await peer.say(op="auth", token="bob")
        assert await peer.hear() == ("auth.ok", {"address": bob.address})
        assert (await peer.hear())[0] == "snapshot"
        event("wallet.balance", 11)
        live._pass_on(Event(8, "wallet.balance", 11, 3, {}))
        assert (await peer.hear())[1]["balance_micros"] == 3


async def test_check_session_when_it_has_ended_closes_with_4401(house: House) -> None:
    async with connected(house) as peer:
        await following(peer)
        house.sessions.clear()
        await next(iter(roster)).check_session()
        assert await peer.closed() == 4401


async def test_connect_when_the_address_has_its_fill_closes_with_4429(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bets.roster.LIMITS", type(LIMITS)(sockets_per_address=1))
    async with connected(house):
        second = Peer(TraderSocket.as_asgi(ports=house.ports), "/ws/v1")
        assert (await second.connect())[0]
        assert await second.closed() == 4429
        await second.wait()
        assert len(roster) == 1


# Feed channels.


async def test_subscribe_when_to_price_gets_each_tick_until_it_unsubscribes(house: House) -> None:
    async with connected(house) as peer:
        await peer.say(op="subscribe", channels=["price"])
        assert await peer.hear() == ("subscribed", {"channels": ["price"]})
        hub.broadcast("price", "price.tick", b'{"seq":41}')
        assert await peer.hear() == ("price.tick", {"seq": 41})
        await peer.say(op="subscribe", channels=["status", "price"])
        assert await peer.hear() == ("subscribed", {"channels": ["price", "status"]})
        await peer.say(op="unsubscribe", channels=["price"])
        assert await peer.hear() == ("subscribed", {"channels": ["status"]})
        assert hub.broadcast("price", "price.tick", b"{}") == 0


async def test_subscribe_when_there_is_a_price_sends_it_at_once(house: House) -> None:
    ports = Ports(
        house.place, house.sessions.get, house.snapshot_of, lambda c: (f"{c}.now", b'{"n":1}')
    )
    peer = Peer(TraderSocket.as_asgi(ports=ports), "/ws/v1")
    await peer.connect()
    await peer.say(op="subscribe", channels=["grid", "price"])
    assert [(await peer.hear())[0] for _ in range(3)] == ["subscribed", "price.now", "grid.now"]
    await peer.disconnect()


# Bets.


async def test_subscribe_when_to_bets_starts_with_a_snapshot(house: House) -> None:
    async with connected(house) as peer:
        assert (await following(peer, since=3))["cursor"] == 10
        assert house.since == [3]
        event("bet.confirmed", 11, bet_id="1")
        assert await peer.hear() == (
            "bet.confirmed",
            {"bet_id": "1", "cursor": 11, "balance_micros": 100},
        )


async def test_snapshot_when_events_race_it_sends_each_piece_of_news_once(house: House) -> None:
    house.snapshot_may_go.clear()
    async with connected(house, ORIGIN, "good") as peer:
        await peer.hear()
        await peer.say(op="subscribe", channels=["bets"])
        await peer.hear()
        await until(lambda: len(house.since) == 1)
        event("bet.resolved", 9, bet_id="in the snapshot")
        event("bet.resolved", 10, bet_id="in the snapshot too")
        event("bet.resolved", 11, bet_id="after it")
        house.snapshot_may_go.set()
        assert (await peer.hear())[0] == "snapshot"
        assert (await peer.hear())[1]["bet_id"] == "after it"
        # One that was under way while the snapshot was read.
        event("bet.resolved", 10, bet_id="late")
        event("bet.resolved", 12, bet_id="next")
        assert (await peer.hear())[1]["bet_id"] == "next"


async def test_gap_when_following_sends_a_snapshot_since_the_last_event(house: House) -> None:
    async with connected(house) as peer:
        await following(peer)
        event("bet.confirmed", 14, bet_id="1")
        await peer.hear()
        house.cursor = 20
        live.live._catch_up()
        assert (await peer.hear())[1]["cursor"] == 20
        assert house.since == [None, 14]


async def test_gap_when_a_snapshot_is_being_read_reads_it_again(house: House) -> None:
    house.snapshot_may_go.clear()
    async with connected(house, ORIGIN, "good") as peer:
        await peer.hear()
        await peer.say(op="subscribe", channels=["bets"])
        await peer.hear()
        await until(lambda: len(house.since) == 1)
        live.live._catch_up()
        house.cursor = 30
        house.snapshot_may_go.set()
        assert (await peer.hear())[1]["cursor"] == 30
        assert len(house.since) == 2


async def test_snapshot_when_the_database_fails_says_so_once_and_tries_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bets.following.RETRY_S", 0.01)
    house.database_fails = 3
    async with connected(house, ORIGIN, "good") as peer:
        await peer.hear()
        await peer.say(op="subscribe", channels=["bets"])
        await peer.hear()
        assert (await peer.hear())[1]["error"] == "dependency_unavailable"
        assert (await peer.hear())[0] == "snapshot"


async def test_events_when_held_beyond_the_bound_are_replaced_by_a_newer_snapshot(
    house: House,
) -> None:
    house.snapshot_may_go.clear()
    async with connected(house, ORIGIN, "good") as peer:
        await peer.hear()
        await peer.say(op="subscribe", channels=["bets"])
        await peer.hear()
        await until(lambda: len(house.since) == 1)
        for cursor in range(11, 13 + LIMITS.socket_queue_frames):
            event("bet.resolved", cursor)
        house.cursor = 12 + LIMITS.socket_queue_frames
        house.snapshot_may_go.set()
        assert (await peer.hear())[1]["cursor"] == house.cursor
        assert await peer.receive_nothing()


async def test_bet_when_accepted_is_told_once_with_its_id(house: House) -> None:
    async with connected(house) as peer:
        await following(peer)
        await peer.say(op="bet", id={"tap": 1}, nonce="n1", stake_micros=5)
        type, data = await peer.hear()
        assert (type, data["id"], data["nonce"]) == ("bet.accepted", {"tap": 1}, "n1")
        assert house.placed == [{"nonce": "n1", "stake_micros": 5}]
        event("bet.accepted", 11, nonce="n1")  # the same news from the hub
        event("bet.accepted", 12, nonce="from the trader's phone")
        assert (await peer.hear())[1]["nonce"] == "from the trader's phone"


async def test_bet_when_its_event_comes_first_is_told_once_with_its_id(house: House) -> None:
    async with connected(house) as peer:
        await following(peer)
        house.place_may_go.clear()
        await peer.say(op="bet", id=5, nonce="n1")
        await until(lambda: bool(house.placed))
        event("bet.accepted", 11, nonce="n1")
        event("bet.confirmed", 12, nonce="n1")
        house.place_may_go.set()
        type, data = await peer.hear()
        assert (type, data["id"], data["cursor"]) == ("bet.accepted", 5, 11)
        assert (await peer.hear())[0] == "bet.confirmed"
        assert await peer.receive_nothing()


async def test_bet_when_refused_says_why_with_its_id(house: House) -> None:
    house.refuses = {"error": "rate_moved", "message": "m", "detail": {"rate_bps": 1}}
    async with connected(house) as peer:
        await peer.say(op="bet", id="x")
        assert await peer.hear() == ("bet.rejected", {"id": "x", **house.refuses})


async def test_bet_when_too_many_are_under_way_is_refused_at_once(house: House) -> None:
    house.place_may_go.clear()
    async with connected(house) as peer:
        for number in range(consumers.BETS_UNDER_WAY + 1):
            await peer.say(op="bet", id=number, nonce=str(number))
        type, data = await peer.hear()
        assert (type, data["id"], data["error"]) == (
            "bet.rejected",
            consumers.BETS_UNDER_WAY,
            "overloaded",
        )
        house.place_may_go.set()
        accepted = {(await peer.hear())[1]["id"] for _ in range(consumers.BETS_UNDER_WAY)}
        assert accepted == set(range(consumers.BETS_UNDER_WAY))


async def test_bet_when_placing_fails_says_that_the_outcome_is_unknown(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.cursor = None  # type: ignore[assignment]
    async with connected(house) as peer:
        await peer.say(op="bet", id=1, nonce="n")
        assert (await peer.hear())[1]["error"] == "outcome_unknown"
    assert "a bet on a socket failed" in caplog.text


# Hostile and slow peers.


async def test_receive_when_frames_are_hostile_complains_and_lives(house: House) -> None:
    async with connected(house) as peer:
        for text in ("{", "[]", '{"op":"fly"}', '{"op":"ping","op":"ping"}', "\x00", "9" * 9_000):
            await peer.send_to(text_data=text)
            type, data = await peer.hear()
            assert (type, data["error"]) == ("error", "invalid_request")
            assert set(data) == {"error", "message", "detail"}
        await peer.send_to(bytes_data=b"\x00\xff")
        assert (await peer.hear())[1]["error"] == "invalid_request"
        await peer.say(op="ping")
        assert await peer.hear() == ("pong", {})


async def test_receive_when_nothing_but_errors_come_closes_with_1008(house: House) -> None:
    async with connected(house) as peer:
        for _ in range(consumers.ERRORS_IN_A_ROW):
            await peer.send_to(text_data="{")
        assert await peer.closed() == 1008


async def test_deliver_when_the_peer_reads_nothing_closes_with_4408(house: House) -> None:
    sent: list[dict[str, Any]] = []
    reading = asyncio.Event()
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            await reading.wait()
        sent.append(message)

    socket = TraderSocket(ports=house.ports)
    running = asyncio.create_task(socket({"type": "websocket", "headers": []}, incoming.get, send))
    incoming.put_nowait({"type": "websocket.connect"})
    subscribe = {"op": "subscribe", "channels": ["price"]}
    incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(subscribe)})
    await until(lambda: len(hub.members("price")) == 1)

    for _ in range(10 * LIMITS.socket_queue_frames):
        hub.broadcast("price", "price.tick", b"{}")
    assert socket._outbox.close_code is None  # prices alone never pile up
    for _ in range(LIMITS.socket_queue_frames + 1):
        socket.say("bet.confirmed", {})
    reading.set()

    async with asyncio.timeout(20):
        await running
    assert sent[-1] == {"type": "websocket.close", "code": 4408}
    assert len(roster) == 0


# The end.


async def test_goodbye_when_sockets_are_open_tells_them_when_to_come_back(house: House) -> None:
    async with connected(house) as peer:
        live.live.goodbye()
        type, data = await peer.hear()
        assert type == "server.shutdown"
        assert live.RECONNECT_MS[0] <= data["reconnect_after_ms"] < live.RECONNECT_MS[1]
        assert await peer.closed() == 1012
