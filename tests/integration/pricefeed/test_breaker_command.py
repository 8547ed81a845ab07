"""`manage.py breaker`: what operators type, what is kept of it, and whom it wakes."""

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from ops.management.commands import breaker as command
from pricefeed import overrides
from pricefeed.board import FEED_KEY, FeedState, TickRecord, encode
from pricefeed.models import BreakerOverride
from taptrading import clock
from tests.servers import Valkey, valkey_server

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def client(server: Valkey, settings: Any) -> Iterator["redis.Redis"]:
    settings.REDIS_URL = server.url
    with redis.Redis.from_url(server.url) as connected:
        connected.flushall()
        yield connected


@pytest.fixture(autouse=True)
def _short_wait_for_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ANSWER_S", 0.0)


def say(*words: str) -> list[str]:
    out = io.StringIO()
    call_command("breaker", *words, stdout=out)
    return out.getvalue().splitlines()


def show(*words: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads("\n".join(say(*words)))
    return shown


def tick() -> TickRecord:
    return TickRecord(7, clock.now_ms(), 9_500_000, 600_000, 1, "a")


class Feed(threading.Thread):
    """As far as the command can tell: woken, it publishes the newest override."""

    def __init__(self, client: "redis.Redis", answer: FeedState) -> None:
        super().__init__()
        self._client = client
        self._answer = answer
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(overrides.CHANNEL)
        self._pubsub.get_message(timeout=1)

    def run(self) -> None:
        if self._pubsub.get_message(timeout=10):
            self._client.set(FEED_KEY, encode(self._answer))
        self._pubsub.close()


def test_show_breaker_when_the_feed_publishes_then_its_state(client: "redis.Redis") -> None:
    client.set(FEED_KEY, encode(FeedState(tick(), "closed", "auto", "")))
    shown = show()
    assert shown["status"]["breaker"] == "closed"
    assert shown["status"]["price_age_ms"] < 3_000
    assert shown["newest_override"] is None


def test_show_breaker_when_there_is_no_feed_then_open(client: "redis.Redis") -> None:
    assert show("status")["status"]["breaker"] == "open"


def test_override_when_opened_then_kept_until_lifted_and_the_feed_is_woken(
    client: "redis.Redis",
) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe(overrides.CHANNEL)
        pubsub.get_message(timeout=1)
        say("open", "--reason", "venue maintenance", "--by", "ann")
        message = pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == overrides.WAKE.encode()
    row = BreakerOverride.objects.get()
    assert (row.state, row.reason, row.by, row.until) == ("open", "venue maintenance", "ann", None)
    assert show()["newest_override"]["by"] == "ann"
    assert overrides.current() == ("open", None, "venue maintenance")


@pytest.mark.parametrize(
    ("words", "recorded", "answer", "says"),
    [
        (
            ("open", "--reason", "drill"),
            "recorded: open until lifted, by ann: drill",
            ("open", "open", "drill"),
            "the feed says: breaker open, override open (drill)",
        ),
        (
            ("auto",),
            "recorded: auto, by ann",
            ("closed", "auto", ""),
            "the feed says: breaker closed, override auto",
        ),
    ],
)
def test_override_when_the_feed_answers_then_what_it_says_afterwards(
    client: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    recorded: str,
    answer: tuple[str, str, str],
    says: str,
) -> None:
    monkeypatch.setattr(command, "ANSWER_S", 20.0)
    client.set(FEED_KEY, encode(FeedState(tick(), "open", "open", "an older one")))
    feed = Feed(client, FeedState(tick(), *answer))
    feed.start()

    assert say(*words, "--by", "ann") == [recorded, says]
    feed.join()


@pytest.mark.parametrize(
    "left_behind",
    [
        None,
        FeedState(TickRecord(7, 0, 9_500_000, 600_000, 1, "a"), "closed", "auto", ""),
    ],
)
def test_override_when_the_feed_is_gone_then_it_has_not_answered(
    client: "redis.Redis", left_behind: FeedState | None
) -> None:
    if left_behind is not None:
        client.set(FEED_KEY, encode(left_behind))

    assert say("auto")[1].startswith("the feed has not answered")


def test_override_when_closed_then_it_ends_after_fifteen_minutes(client: "redis.Redis") -> None:
    say("close", "--reason", "prices checked by hand")
    row = BreakerOverride.objects.get()
    assert row.until is not None
    assert (row.until - row.created_at).total_seconds() == 900
    assert row.by  # the system user


def test_override_when_minutes_are_given_then_they_count(client: "redis.Redis") -> None:
    say("open", "--reason", "drill", "--minutes", "2")
    row = BreakerOverride.objects.get()
    assert row.until is not None
    assert (row.until - row.created_at).total_seconds() == 120


def test_override_when_set_back_to_auto_then_a_new_row_counts(client: "redis.Redis") -> None:
    say("open", "--reason", "drill")
    say("auto")
    assert BreakerOverride.objects.count() == 2
    assert overrides.current().state == "auto"


@pytest.mark.parametrize(
    "words",
    [("open",), ("close", "--reason", " "), ("open", "--reason", "x", "--minutes", "0")],
)
def test_override_when_reason_or_minutes_are_missing_then_refused(
    client: "redis.Redis", words: tuple[str, ...]
) -> None:
    with pytest.raises(CommandError):
        call_command("breaker", *words)
    assert not BreakerOverride.objects.exists()


def test_override_when_redis_is_away_then_recorded_all_the_same(
    settings: Any, tmp_path: Path
) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/none.sock"
    errors = io.StringIO()
    call_command("breaker", "open", "--reason", "x", stdout=io.StringIO(), stderr=errors)
    assert BreakerOverride.objects.get().state == "open"
    assert "within a second" in errors.getvalue()


@pytest.mark.parametrize(("text", "taken"), [("open", True), ("auto", True), ("changed", False)])
def test_record_message_when_an_override_then_by_redis_for_fifteen_minutes(
    text: str, taken: bool
) -> None:
    assert overrides.record_message(text) is taken
    row = overrides.newest()
    if not taken:
        assert row is None
        return
    assert row is not None
    assert row.by == "redis"
    if text == "open":
        assert row.until is not None
        assert (row.until - row.created_at).total_seconds() == 900


def test_record_override_when_the_state_is_unknown_then_refused() -> None:
    with pytest.raises(ValueError, match="ajar"):
        overrides.record("ajar", reason="", by="ann")
