"""What monitors are told, with each of the things the platform stands on up or down."""

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created
from django.test import Client
from django.urls import include, path
from prometheus_client import REGISTRY

from ops import health
from pricefeed.board import FEED_KEY, FeedState, TickRecord, encode
from taptrading import clock, vitals
from tests.fakes import ManualClock
from tests.servers import Valkey, short_folder, valkey_server

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
urlpatterns = [path("", include("ops.urls"))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def platform(server: Valkey, settings: Any, tmp_path: Path, now: ManualClock) -> Iterator[Any]:
    """Everything is up and a tick is 200 ms old."""
    settings.REDIS_URL = server.url
    settings.WRITER_SOCKET = server.folder / "writer.sock"
    settings.WRITER_SOCKET.unlink(missing_ok=True)
    now.advance(10)  # past what an earlier test's report remembers
    health.healthz._last = None
    with answering(settings.WRITER_SOCKET):
        publish(server, now, age_ms=200)
        yield settings


class Echo(socketserver.BaseRequestHandler):
    """A writer that is asked for nothing answers with nothing."""

    def handle(self) -> None:
        self.request.sendall(self.request.recv(100))


@contextmanager
def answering(path: Path) -> Iterator[None]:
    with socketserver.UnixStreamServer(str(path), Echo) as writer:
        serving = threading.Thread(target=writer.serve_forever, args=[0.01])
        serving.start()
        yield
        writer.shutdown()
        serving.join()


def publish(server: Valkey, now: ManualClock, age_ms: int, breaker: str = "closed") -> None:
    tick = TickRecord(1, now.us // 1_000 - age_ms, 9_500_000, 0, 0, "simulated")
    with redis.Redis.from_url(server.url) as client:
        client.set(FEED_KEY, encode(FeedState(tick, breaker)))


def get(path: str) -> tuple[int, Any]:
    reply = Client().get(path)
    return reply.status_code, json.loads(reply.content)


def test_healthz_when_all_is_well_has_the_documented_form(platform: Any, now: ManualClock) -> None:
    status, body = get("/healthz")
    assert status == 200
    assert list(body) == ["status", "timestamp", "checks"]
    assert (body["status"], body["timestamp"]) == ("ok", clock.iso_ms(now.us))
    checks = body["checks"]
    assert set(checks["database"]) == {"status", "connections", "wal_size_mb"}
    assert checks["database"]["connections"] >= 1
    assert set(checks["redis"]) == {"status", "latency_ms", "memory_used_mb"}
    assert checks["redis"]["memory_used_mb"] > 0
    assert checks["price_feed"] == {
        "status": "ok",
        "last_update": clock.iso_ms(now.us - 200_000),
        "stale_for_ms": 200,
    }
    assert checks["circuit_breaker"] == {"status": "closed"}
    assert get("/health/readiness") == (200, {"ready": True})


@pytest.mark.parametrize(
    ("age_ms", "breaker", "status", "overall", "feed", "circuit"),
    [
        (1_000, "closed", 200, "ok", "ok", "closed"),
        (1_001, "closed", 200, "degraded", "stale", "closed"),
        (200, "open", 200, "degraded", "ok", "open"),  # an operator's override
        (10_000, "degraded", 200, "degraded", "stale", "degraded"),
        (10_001, "closed", 503, "down", "down", "open"),
    ],
)
def test_healthz_when_prices_are_old_says_how_bad_it_is(
    platform: Any, server: Valkey, now: ManualClock,
    age_ms: int, breaker: str, status: int, overall: str, feed: str, circuit: str,
) -> None:  # fmt: skip
    publish(server, now, age_ms, breaker)
    found_status, body = get("/healthz/")
    assert (found_status, body["status"]) == (status, overall)
    assert body["checks"]["price_feed"]["status"] == feed
    assert body["checks"]["circuit_breaker"]["status"] == circuit
    # Old prices are no reason to send traders to another process.
    assert get("/health/readiness")[0] == 200


def test_healthz_when_redis_is_down_is_503_and_names_no_host(platform: Any, tmp_path: Path) -> None:
    platform.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    status, body = get("/healthz")
    assert status == 503
    assert body["checks"]["redis"] == {
        "status": "down",
        "latency_ms": None,
        "memory_used_mb": None,
    }
    assert body["checks"]["price_feed"]["last_update"] is None
    assert str(tmp_path) not in json.dumps(body)
    assert get("/health/readiness") == (503, {"ready": False})


def test_healthz_when_the_writer_is_down_is_503(platform: Any, tmp_path: Path) -> None:
    platform.WRITER_SOCKET = tmp_path / "nobody.sock"
    status, body = get("/healthz")
    assert (status, body["checks"]["writer"]) == (503, {"status": "down"})


def test_healthz_when_the_writer_is_connected_to_but_does_not_answer_is_503(
    platform: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.05)
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as stuck:
        platform.WRITER_SOCKET = folder / "writer.sock"
        stuck.bind(str(platform.WRITER_SOCKET))
        stuck.listen()
        status, body = get("/healthz")
    assert (status, body["checks"]["writer"]) == (503, {"status": "down"})


def test_healthz_when_the_database_is_down_is_503(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        vendor = "sqlite"

        def cursor(self) -> None:
            raise DatabaseError("disk I/O error")

    monkeypatch.setattr(health, "connection", Broken())
    status, body = get("/healthz")
    assert (status, body["checks"]["database"]["status"]) == (503, "down")


def test_healthz_when_asked_again_within_a_second_asks_nobody(
    platform: Any, server: Valkey, now: ManualClock
) -> None:
    first = get("/healthz")
    publish(server, now, age_ms=60_000)
    now.advance(0.9)
    assert get("/healthz") == first
    now.advance(0.1)
    assert get("/healthz")[0] == 503


def test_report_when_it_is_being_made_then_others_get_the_last_one_and_do_not_wait(
    now: ManualClock,
) -> None:
    asked, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        if len(made) == 2:
            asked.set()
            assert go_on.wait(10)
        return len(made)

    remembered = health.Remembered(make)
    assert remembered() == 1
    now.advance(2)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(remembered)
        assert asked.wait(10)
        assert remembered() == 1
        now.advance(health.BEARABLE_US / clock.US_PER_S)
        patient = pool.submit(remembered)  # the last one is too old to be true by now
        go_on.set()
        assert (slow.result(10), patient.result(10)) == (2, 2)
    assert len(made) == 2


def test_detailed_when_not_staff_is_refused(platform: Any) -> None:
    client = Client()
    assert client.get("/health/detailed").status_code == 401
    client.force_login(User.objects.create_user("trader"))
    assert client.get("/health/detailed").json()["error"] == "forbidden"


def test_detailed_when_staff_tells_of_the_process(platform: Any) -> None:
    client = Client()
    client.force_login(User.objects.create_user("operator", is_staff=True))
    body = client.get("/health/detailed").json()
    assert body["checks"]["database"]["status"] == "ok"
    assert body["process"]["threads"] >= 1


def test_detailed_when_parts_are_down_then_staff_see_which_and_no_secret(
    platform: Any, tmp_path: Path
) -> None:
    client = Client()
    client.force_login(User.objects.create_user("operator", is_staff=True))
    platform.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    platform.WRITER_SOCKET = tmp_path / "nobody.sock"
    reply = client.get("/health/detailed")
    body = reply.json()
    down = {name for name, check in body["checks"].items() if check["status"] == "down"}
    assert (reply.status_code, body["status"]) == (200, "down")
    assert down >= {"redis", "writer", "price_feed"}
    assert body["checks"]["database"]["status"] == "ok"
    for secret in (str(tmp_path), platform.SECRET_KEY, platform.CUSTODY_SECRET):
        assert secret not in reply.text


def test_version_names_what_runs(platform: Any) -> None:
    status, body = get("/version")
    assert status == 200
    assert list(body) == ["version", "commit", "python", "django", "sqlite"]
    assert body["version"] == "0.1.0"
    assert tuple(map(int, body["sqlite"].split("."))) >= (3, 51, 3)


def test_metrics_are_in_prometheus_form(platform: Any) -> None:
    reply = Client().get("/metrics")
    assert reply.status_code == 200
    assert b"# TYPE python_info gauge" in reply.content


@pytest.mark.django_db
def test_connection_when_it_is_opened_then_the_gauge_counts_it() -> None:
    vitals.CONNECTIONS.set(0)
    opened = connections["default"]
    connection_created.send(type(opened), connection=opened)
    told = REGISTRY.get_sample_value("database_connections")
    assert told == vitals.open_connections() >= 1
