"""Live adapters against a real WebSocket server that speaks a venue's form, and misbehaves."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from pricefeed import counts
from pricefeed.sources import binance, coinbase, kraken
from pricefeed.sources.venue import PATIENCE, Patience, Venue, VenueSource, backoff_s
from pricefeed.ticks import Event
from taptrading import clock
from taptrading.limits import LIMITS

HASTE = Patience(
    open_s=1.0, close_s=0.1, silence_s=0.3, ping_s=5.0, backoff_min_s=0.01, backoff_max_s=0.05
)
CENT = 10_000_000
Script = Callable[[ServerConnection], Awaitable[None]]


def book_ticker(u: int, price: str) -> str:
    data = {"u": u, "s": "BTCUSDT", "b": price, "a": price}
    return json.dumps({"stream": "btcusdt@bookTicker", "data": data})


class Exchange:
    """Each connection is served by the next script; the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.connections = 0
        self.path = ""
        self.refuse_first = 0
        self.url = ""

    async def serve(self, connection: ServerConnection) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        self.path = connection.request.path if connection.request else ""
        await script(connection)

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.refuse_first:
            self.refuse_first -= 1
            return connection.respond(HTTPStatus.INTERNAL_SERVER_ERROR, "no\n")
        return None


@asynccontextmanager
async def running(exchange: Exchange) -> AsyncIterator[Exchange]:
    async with serve(
        exchange.serve, "127.0.0.1", 0, process_request=exchange.check, close_timeout=0.1
    ) as server:
        port = server.sockets[0].getsockname()[1]
        exchange.url = f"ws://127.0.0.1:{port}/stream"
        yield exchange


class Listening:
    """A started source, what metrics say of it since then, and everything drained so far."""

    def __init__(self, venue: Venue) -> None:
        self._name = venue.name
        self._refused, self._reconnects = self._told_refused(), self._told_reconnects()
        self.events: list[Event] = []
        self.source = VenueSource(
            venue, clock.monotonic_us, counts.refused, counts.reconnected, HASTE
        )

    def _told_refused(self) -> Counter[str]:
        samples = [sample for metric in counts.refusals.collect() for sample in metric.samples]
        return Counter(
            {
                sample.labels["reason"]: int(sample.value)
                for sample in samples
                if sample.name == "pricefeed_refusals_total"
                and sample.labels["source"] == self._name
            }
        )

    def _told_reconnects(self) -> int:
        labels = {"source": self._name}
        return int(REGISTRY.get_sample_value("pricefeed_reconnects_total", labels) or 0)

    @property
    def refused(self) -> Counter[str]:
        return self._told_refused() - self._refused

    @property
    def reconnects(self) -> int:
        return self._told_reconnects() - self._reconnects

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                self.events += self.source.drain(clock.monotonic_us())
                await asyncio.sleep(0.005)

    @property
    def prices(self) -> list[int]:
        return [e.price_nanos // CENT for e in self.events if e.price_nanos is not None]


@asynccontextmanager
async def listening(venue: Venue) -> AsyncIterator[Listening]:
    heard = Listening(venue)
    await heard.source.start(clock.monotonic_us())
    try:
        yield heard
    finally:
        await heard.source.stop()


async def stay(connection: ServerConnection) -> None:
    await connection.wait_closed()


def say(*frames: str | bytes, then: Script = stay) -> Script:
    async def script(connection: ServerConnection) -> None:
        for frame in frames:
            await connection.send(frame)
        await then(connection)

    return script


async def hang_up(connection: ServerConnection) -> None:
    await connection.close()


async def cut(connection: ServerConnection) -> None:
    connection.transport.abort()


async def test_listen_when_the_venue_streams_then_stamped_events() -> None:
    exchange = Exchange(say(book_ticker(1, "100.00"), book_ticker(2, "100.01")))
    before_us = clock.monotonic_us()
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: len(heard.prices) == 2)
    assert exchange.path == "/stream?streams=btcusdt@bookTicker/btcusdt@trade/btcusdt@depth@100ms"
    assert heard.prices == [10_000, 10_001]
    assert before_us < heard.events[0].received_us <= heard.events[1].received_us


async def test_drain_when_asked_for_an_earlier_instant_then_later_events_wait() -> None:
    exchange = Exchange(say(book_ticker(1, "100.00")))
    before_us = clock.monotonic_us()
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await asyncio.sleep(0.1)
        assert heard.source.drain(before_us) == []
        assert len(heard.source.drain(clock.monotonic_us())) == 1


@pytest.mark.parametrize("ending", [hang_up, cut])
async def test_listen_when_the_venue_drops_then_reconnected_with_a_fresh_guard(
    ending: Script,
) -> None:
    exchange = Exchange(say(book_ticker(9, "100.00"), then=ending), say(book_ticker(1, "200.00")))
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: 20_000 in heard.prices)
        assert heard.source.is_lost()
        assert not heard.source.is_lost()
    assert heard.reconnects >= 1
    assert not heard.refused


async def test_listen_when_the_handshake_answers_500_then_tried_again() -> None:
    exchange = Exchange(say(book_ticker(1, "100.00")))
    exchange.refuse_first = 3
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: bool(heard.prices))
    assert heard.reconnects == 3


async def test_listen_when_nobody_is_there_then_the_loop_goes_on() -> None:
    async with listening(binance.venue("ws://127.0.0.1:9/stream")) as heard:
        await heard.until(lambda: heard.reconnects >= 3)
    assert heard.prices == []


async def test_listen_when_garbage_comes_then_counted_and_the_next_price_counts() -> None:
    exchange = Exchange(
        say("<html>", b"\x00\xff", "[1", book_ticker(5, "0"), "null", book_ticker(6, "100.00"))
    )
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: bool(heard.prices))
    assert heard.refused == {"not_json": 3, "price_not_positive": 1, "unknown_form": 1}
    assert heard.prices == [10_000]


async def test_listen_when_the_venue_runs_backwards_then_counted_and_never_used() -> None:
    exchange = Exchange(
        say(*(book_ticker(u, f"{u}00") for u in (5, 4, 5, 1, 6))),
    )
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: len(heard.prices) == 2)
    assert heard.prices == [50_000, 60_000]
    assert heard.refused == {"sequence_regression": 3}
    assert heard.reconnects == 0


@pytest.mark.parametrize("frames", [(), ("rubbish",)])
async def test_listen_when_the_venue_freezes_then_reconnected(frames: tuple[str, ...]) -> None:
    exchange = Exchange(say(*frames), say(book_ticker(1, "100.00")))
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: bool(heard.prices))
    assert heard.reconnects == 1


async def test_listen_when_only_rubbish_keeps_coming_then_reconnected() -> None:
    async def babble(connection: ServerConnection) -> None:
        while True:
            await connection.send("rubbish")
            await asyncio.sleep(0.05)

    exchange = Exchange(babble, say(book_ticker(1, "100.00")))
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: bool(heard.prices))
    assert heard.refused["not_json"] >= 3


async def test_listen_when_a_message_is_too_big_then_refused_and_reconnected() -> None:
    huge = "x" * (LIMITS.source_message_bytes + 1)
    exchange = Exchange(say(huge), say(book_ticker(1, "100.00")))
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await heard.until(lambda: bool(heard.prices))
    assert heard.refused == {"oversize": 1}


async def test_listen_when_nobody_drains_then_the_oldest_give_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "pricefeed.sources.venue.LIMITS",
        type("Few", (), {"source_queue": 2, "source_message_bytes": 1_000}),
    )
    exchange = Exchange(say(*(book_ticker(u, f"{u}00") for u in range(1, 6))))
    async with running(exchange), listening(binance.venue(exchange.url)) as heard:
        await asyncio.sleep(0.2)
        await heard.until(lambda: bool(heard.events))
    assert heard.prices == [40_000, 50_000]
    assert heard.refused == {"queue_full": 3}


async def test_listen_when_coinbase_then_it_is_asked_for_its_channels() -> None:
    asked: list[object] = []

    async def script(connection: ServerConnection) -> None:
        asked.append(json.loads(await connection.recv()))
        for sequence, kind in [(1, "last_match"), (2, "match")]:
            match = {
                "type": kind,
                "product_id": "BTC-USD",
                "sequence": sequence,
                "price": f"{sequence}00.00",
                "time": "2026-01-01T00:00:00.000001Z",
            }
            await connection.send(json.dumps(match))
        await stay(connection)

    exchange = Exchange(script)
    async with running(exchange), listening(coinbase.venue(exchange.url)) as heard:
        await heard.until(lambda: bool(heard.prices))
    assert heard.prices == [20_000]
    assert asked == [json.loads(coinbase.venue("").hello[0])]


async def test_listen_when_kraken_then_both_subscriptions_and_heartbeats() -> None:
    asked: list[str] = []

    async def script(connection: ServerConnection) -> None:
        hellos = [json.loads(await connection.recv()) for _ in range(2)]
        asked.extend(hello["params"]["channel"] for hello in hellos)
        entry = '{"symbol":"BTC/USD","bid":99.9,"ask":100.1}'
        await connection.send(f'{{"channel":"ticker","type":"update","data":[{entry}]}}')
        while True:
            await connection.send('{"channel":"heartbeat"}')
            await asyncio.sleep(0.05)

    exchange = Exchange(script)
    async with running(exchange), listening(kraken.venue(exchange.url)) as heard:
        # Longer than the silence that would end the connection: heartbeats keep it.
        await heard.until(lambda: len(heard.events) > 10)
    assert asked == ["ticker", "trade"]
    assert heard.prices == [10_000]
    assert heard.reconnects == 0


def test_back_off_when_failures_mount_then_exponential_jittered_and_bounded() -> None:
    assert backoff_s(0, PATIENCE, lambda: 1.0) == 0.5
    assert backoff_s(3, PATIENCE, lambda: 1.0) == 4.0
    assert backoff_s(3, PATIENCE, lambda: 0.25) == 1.0
    assert backoff_s(500, PATIENCE, lambda: 1.0) == 30.0
    assert backoff_s(500, PATIENCE, lambda: 0.0) == 0.05
