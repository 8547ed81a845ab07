"""`manage.py feed`: how the feed is, other venues while it runs, and a stop that harms no bet."""

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from ops.audit.gather import gather
from ops.management.commands import feed as command
from ops.models import AuditEntry
from pricefeed import choices, counts
from pricefeed.assembly import Sources
from pricefeed.board import (
    FEED_KEY,
    SOURCES_KEY,
    Board,
    FeedState,
    SourceState,
    TickRecord,
    decode_sources,
    encode,
    encode_sources,
)
from pricefeed.models import BreakerOverride, SourceChoice
from pricefeed.pipeline import Pipeline
from pricefeed.receive_clock import ReceiveClock
from pricefeed.ticks import NANOS_PER_CENT, Event
from taptrading import clock
from tests import factories
from tests.factories import accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from tests.servers import Valkey, valkey_server

pytestmark = pytest.mark.django_db(databases=["default", "prices"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def client(server: Valkey, settings: Any) -> Iterator["redis.Redis"]:
    settings.REDIS_URL = server.url
    settings.PRICE_SOURCES = ["binance", "kraken"]
    with redis.Redis.from_url(server.url) as connected:
        connected.flushall()
        yield connected


def run(*words: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    try:
        call_command("feed", *words, "--json", stdout=out)
    except SystemExit as left:
        return int(left.code or 0), json.loads(out.getvalue() or "{}")
    return 0, json.loads(out.getvalue())


def publish(client: "redis.Redis", age_ms: int) -> None:
    tick = TickRecord(7, clock.now_ms() - age_ms, 9_500_000, 600_000, 1, "binance")
    client.set(FEED_KEY, encode(FeedState(tick, "closed")))
    states = [SourceState("binance", 40, 9_500_100), SourceState("kraken")]
    client.set(SOURCES_KEY, encode_sources(states))


def test_status_when_one_source_is_gone_then_said_of_it(client: "redis.Redis") -> None:
    publish(client, age_ms=0)
    code, told = run()
    assert (code, told["breaker"], told["made_of"]) == (0, "closed", ["binance"])
    assert told["sources"] == [
        {"name": "binance", "live": True, "age_ms": 40, "price_cents": 9_500_100},
        {"name": "kraken", "live": False, "age_ms": None, "price_cents": None},
    ]
    out = io.StringIO()
    call_command("feed", stdout=out)
    assert "source   kraken     DOWN, not heard from" in out.getvalue()


def test_status_when_the_index_is_stale_then_exit_1_and_without_redis_2(
    client: "redis.Redis", settings: Any, tmp_path: Any
) -> None:
    publish(client, age_ms=4_000)
    assert run()[0] == 1
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    assert run() == (2, {})


def test_switch_when_it_can_be_then_recorded_and_in_the_audit_log(client: "redis.Redis") -> None:
    words = ("switch", "coinbase,kraken", "--reason", "binance lies", "--by", "ann")
    assert run(*words, "--dry-run")[1]["done"] is False
    assert choices.current() == ("binance", "kraken")
    assert run(*words) == (
        0, {"done": True, "before": ["binance", "kraken"], "after": ["coinbase", "kraken"]},
    )  # fmt: skip
    assert choices.current() == ("coinbase", "kraken")
    gather()
    entry = AuditEntry.objects.get(action="pricefeed.choose_sources")
    assert (entry.actor, entry.reason) == ("ann", "binance lies")
    run("switch", "configured", "--reason", "over")
    assert choices.current() == ("binance", "kraken")


@pytest.mark.parametrize(
    ("venues", "why"),
    [("simulated", "no such venue"), ("kraken,kraken", "each venue once"),
     ("coinbase", "SOURCES_MIN is 2")],
)  # fmt: skip
def test_switch_when_it_cannot_be_then_refused_and_nothing_changes(
    client: "redis.Redis", settings: Any, venues: str, why: str
) -> None:
    settings.SOURCES_MIN = 2
    with pytest.raises(CommandError, match=why):
        run("switch", venues, "--reason", "x")
    assert not SourceChoice.objects.exists()


def test_switch_when_prices_are_simulated_then_they_stay_so(
    client: "redis.Redis", settings: Any
) -> None:
    settings.PRICE_SOURCES = ["simulated"]
    with pytest.raises(CommandError, match="stands alone"):
        run("switch", "kraken", "--reason", "x")


def test_choice_when_it_no_longer_fits_the_settings_then_those_count(
    client: "redis.Redis", settings: Any
) -> None:
    choices.record(["kraken"], reason="x", by="ann")
    settings.SOURCES_MIN = 2
    assert choices.current() == ("binance", "kraken")


def test_drain_when_bets_are_open_then_waits_for_them_behind_an_open_breaker(
    client: "redis.Redis",
    writer: InProcessLink,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "LOOK_EVERY_S", 0.0)
    factories.funded_house(writer)
    factories.tick(feed_board)
    accepted(writer.call(place_command(factories.funded_wallet(writer))))
    assert run("drain", "--dry-run") == (0, {"done": False, "open_bets": 1})
    assert not BreakerOverride.objects.exists()
    assert run("drain", "--wait-s", "0", "--reason", "new disk") == (
        1, {"done": False, "open_bets": 1},
    )  # fmt: skip
    row = BreakerOverride.objects.get()
    assert (row.state, row.reason, row.until) == ("open", "new disk", None)
    now.advance(3)
    writer.run_due()  # no tick came: the bet is rejected and refunded
    assert run("drain") == (0, {"done": True, "open_bets": 0})


class Quoting:
    """A source that says its price whenever it is asked."""

    catch_up_ms = 1_000

    def __init__(self, name: str, price_cents: int) -> None:
        self.name = name
        self._price_cents = price_cents
        self.running = False

    async def start(self, now_us: int) -> int:
        self.running = True
        return now_us

    async def stop(self) -> None:
        self.running = False

    def drain(self, until_us: int) -> list[Event]:
        return [Event(until_us, self.name, self._price_cents * NANOS_PER_CENT)]

    def is_lost(self) -> bool:
        return False


async def test_pipeline_when_switched_then_the_old_price_counts_for_nothing_at_once() -> None:
    old, kept, new = Quoting("a", 100_000), Quoting("b", 100_100), Quoting("c", 100_200)
    pipeline = Pipeline([old, kept], 1)
    await pipeline.start(0)
    first = pipeline.step(100)
    assert first is not None
    assert first.sources == "a,b"
    await pipeline.switch([kept, new], 100_000)
    assert (old.running, kept.running, new.running) == (False, True, True)
    second = pipeline.step(200)
    assert second is not None
    assert (second.sources, second.price_cents) == ("b,c", 100_150)
    assert set(pipeline.heard(200_000)) == {"b", "c"}


def test_sources_when_told_then_redis_and_the_gauge_have_them(
    client: "redis.Redis", server: Valkey
) -> None:
    async def tell() -> None:
        async with redis.asyncio.Redis.from_url(server.url) as store:
            sources = Sources(store, ReceiveClock(lambda: 9_250_000, lambda: 0))
            await sources.tell(["kraken"], {"kraken": (250_000, 5 * NANOS_PER_CENT)})

    asyncio.run(tell())
    payload = client.get(SOURCES_KEY)
    assert isinstance(payload, bytes)
    assert decode_sources(payload) == [SourceState("kraken", 250, 5)]
    assert counts.source_heard.labels("kraken")._value.get() == 9
    assert counts.source_heard.labels("binance")._value.get() == 0
