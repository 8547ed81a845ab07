"""The hub without a transport: topics, frames and the numbers that betray a loss."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisDown

from taptrading import hub as hub_module
from taptrading import sender
from taptrading.hub import Hub, frame_tail
from taptrading.sender import BEACON


class FakeSocket:
    def __init__(self) -> None:
        self.frames: list[str] = []

    def deliver(self, type: str, tail: bytes) -> None:
        self.frames.append(f'{{"seq":{len(self.frames) + 1}{tail.decode()}')


class FakeLayer:
    """Takes messages, or is down."""

    def __init__(self) -> None:
        self.down = False
        self.tried = 0
        self.messages: list[dict[str, Any]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.tried += 1
        if self.down:
            raise RedisDown("no server")
        self.messages.append(message)


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> FakeLayer:
    fake = FakeLayer()
    monkeypatch.setattr(sender, "get_channel_layer", lambda: fake)
    return fake


@pytest.fixture
def gaps() -> list[int]:
    return []


@pytest.fixture
def hub(gaps: list[int]) -> Hub:
    made = Hub()
    made.on_gap(lambda: gaps.append(1))
    return made


def message(kind: str, number: int, sender: str = "a", payload: bytes = b"") -> dict[str, Any]:
    return {"kind": kind, "payload": payload, "sender": sender, "number": number}


def test_broadcast_when_sockets_joined_gives_each_its_own_seq(hub: Hub) -> None:
    early, late = FakeSocket(), FakeSocket()
    hub.join(early, "price")
    hub.broadcast("price", "price.tick", b'{"seq":7}')
    hub.join(late, "price")

    assert hub.broadcast("price", "price.tick", b'{"seq":8}') == 2
    assert early.frames[1] == '{"seq":2,"type":"price.tick","data":{"seq":8}}'
    assert late.frames == ['{"seq":1,"type":"price.tick","data":{"seq":8}}']


def test_broadcast_when_nobody_joined_reaches_nobody(hub: Hub) -> None:
    assert hub.broadcast("grid", "grid.update", b"{}") == 0


def test_leave_when_one_topic_is_named_keeps_the_others(hub: Hub) -> None:
    socket = FakeSocket()
    for topic in ("price", "grid"):
        hub.join(socket, topic)

    hub.leave(socket, "price")
    assert (hub.members("price"), hub.members("grid")) == ((), (socket,))

    hub.leave(socket)
    assert hub.counts()["sockets"] == hub.counts()["topics"] == 0


def test_leave_when_never_joined_does_nothing(hub: Hub) -> None:
    hub.leave(FakeSocket())
    hub.leave(FakeSocket(), "price")
    assert hub.counts()["sockets"] == 0


def test_frame_tail_when_joined_to_a_number_is_the_frame() -> None:
    assert b'{"seq":1' + frame_tail("pong", b"{}") == b'{"seq":1,"type":"pong","data":{}}'


def test_take_when_numbers_run_on_reports_no_gap(hub: Hub, gaps: list[int]) -> None:
    for number in (1, 2, 3):
        hub._take(message("feed", number))
    hub._take(message(BEACON, 3))
    hub._take(message("feed", 4))
    hub._take(message("feed", 1, sender="b"))
    assert gaps == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (message("feed", 1), message("feed", 3)),  # one lost between two
        (message("feed", 1), message(BEACON, 2)),  # the last one lost
        (message(BEACON, 0), message("feed", 2)),  # the first one lost
    ],
)
def test_take_when_a_message_is_missing_reports_one_gap(
    hub: Hub, gaps: list[int], first: dict[str, Any], second: dict[str, Any]
) -> None:
    hub._take(first)
    assert gaps == []
    hub._take(second)
    assert gaps == [1]
    hub._take(message("feed", second["number"] + 1))
    assert gaps == [1]


def test_take_when_just_subscribed_learns_the_numbers(hub: Hub, gaps: list[int]) -> None:
    hub._learning = True
    hub._take(message("feed", 500))
    hub._take(message(BEACON, 500))
    assert gaps == []
    hub._take(message("feed", 502))
    assert gaps == [1]
    hub._learnt()
    hub._take(message("feed", 2, sender="new, but its first is missing"))
    assert gaps == [1, 1]


def test_take_when_a_callback_fails_still_calls_the_next(hub: Hub) -> None:
    seen: list[bytes] = []

    def fail(payload: bytes) -> None:
        raise ValueError(payload)

    hub.on("feed", fail)
    hub.on("feed", seen.append)
    hub._take(message("feed", 1, payload=b"x"))
    assert seen == [b"x"]


def test_on_when_ended_calls_no_more(hub: Hub) -> None:
    seen: list[bytes] = []
    end = hub.on("feed", seen.append)
    end()
    hub._take(message("feed", 1))
    assert seen == []


async def test_publish_when_the_layer_is_up_numbers_the_messages(
    hub: Hub, layer: FakeLayer
) -> None:
    assert await hub.publish("feed", b"1")
    assert await hub.publish("batch", b"2")
    assert [(m["kind"], m["payload"], m["number"]) for m in layer.messages] == [
        ("feed", b"1", 1),
        ("batch", b"2", 2),
    ]


async def test_publish_when_the_layer_is_down_returns_false_and_waits_before_trying_again(
    hub: Hub, layer: FakeLayer, caplog: pytest.LogCaptureFixture
) -> None:
    layer.down = True
    assert [await hub.publish("feed", b"") for _ in range(100)] == [False] * 100
    assert layer.tried == 1
    assert len(caplog.records) == 1
    assert hub.counts()["lost"] == 100
    assert hub.is_down()


async def test_publish_when_the_layer_comes_back_goes_on_counting(
    hub: Hub, layer: FakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer.down = True
    await hub.publish("feed", b"lost")
    layer.down = False
    hub._sender()._try_again()
    assert hub.is_down()
    assert await hub.publish("feed", b"")
    assert not hub.is_down()
    # The number tells receivers that one is missing.
    assert [m["number"] for m in layer.messages] == [2]


class StumblingLayer(FakeLayer):
    """Is flushed while the first channel is being made, as when the server dies just then."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: set[str] = set()
        self.flushed = asyncio.Event()
        self.joined = asyncio.Event()
        self.made = 0

    async def new_channel(self) -> str:
        self.made += 1
        name = f"channel-{self.made}"
        self.channels.add(name)
        if self.made == 1:
            await self.flushed.wait()
        return name

    async def flush(self) -> None:
        self.channels.clear()
        self.flushed.set()
        await asyncio.sleep(0.01)

    async def group_add(self, group: str, channel: str) -> None:
        if channel not in self.channels:
            raise RuntimeError("You can only call group_add() on channels that exist in-process.")
        self.joined.set()

    async def receive(self, channel: str) -> Any:
        await asyncio.Event().wait()


async def test_run_when_its_channel_is_flushed_before_it_joined_then_it_tries_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = StumblingLayer()
    for module in (hub_module, sender):
        monkeypatch.setattr(module, "get_channel_layer", lambda: layer)
    monkeypatch.setattr(hub_module, "BEACON_S", 0.001)
    monkeypatch.setattr(hub_module, "RETRY_S", 0.001)
    running = asyncio.create_task(hub.run())
    try:
        async with asyncio.timeout(10):
            joining = asyncio.create_task(layer.joined.wait())
            await asyncio.wait({running, joining}, return_when=asyncio.FIRST_COMPLETED)
        assert layer.joined.is_set(), running
    finally:
        running.cancel()
        joining.cancel()
        await asyncio.gather(running, joining, return_exceptions=True)
