"""Is the platform well? What the monitors ask, answered at most once a second.

Names no host, no path and no secret: monitors are not signed in.
"""

import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from msgspec import DecodeError
from prometheus_client import Gauge

from pricefeed import recorder
from pricefeed.board import FEED_KEY, Board, FeedState, decode
from taptrading import clock
from taptrading.limits import LIMITS, MIB

OK: Final = "ok"
DEGRADED: Final = "degraded"
STALE: Final = "stale"
DOWN: Final = "down"
FRESH_US: Final = clock.US_PER_S
PATIENCE_S: Final = 1.0

Report = dict[str, Any]

_connections: WeakSet[BaseDatabaseWrapper] = WeakSet()
_CONNECTIONS: Final = Gauge(
    "database_connections",
    "Connections to the database of all processes, each as of its newest one",
    multiprocess_mode="livesum",
)


def _remember_connection(connection: BaseDatabaseWrapper, **_: object) -> None:
    _connections.add(connection)
    _CONNECTIONS.set(_open_connections())


connection_created.connect(_remember_connection)


class Remembered:
    """The last report, while it is fresh; callers who come meanwhile wait for the same one."""

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._made_us = 0
        self._last: Report | None = None

    def __call__(self) -> Report:
        with self._lock:
            now_us = clock.monotonic_us()
            if self._last is None or not 0 <= now_us - self._made_us < FRESH_US:
                self._last = self._report()
                self._made_us = now_us
            return self._last


def report() -> Report:
    """`/healthz` of the contract."""
    redis_check, board = check_redis()
    database_check = check_database()
    if board is None:
        board = _board_of_database() if database_check["status"] == OK else Board()
    now_us = clock.now_us()
    checks = {
        "database": database_check,
        "redis": redis_check,
        "writer": check_writer(),
        "price_feed": check_price_feed(board, now_us),
        "circuit_breaker": {"status": board.breaker(now_us // clock.US_PER_MS)},
    }
    return {"status": overall(checks), "timestamp": clock.iso_ms(now_us), "checks": checks}


healthz: Final = Remembered(report)


def overall(checks: dict[str, Report]) -> str:
    """Down: a dependency is. Degraded: the platform does its work, but bets may be refused."""
    found = [check["status"] for check in checks.values()]
    if DOWN in found:
        return DOWN
    healthy = {OK, "closed"}
    return OK if healthy.issuperset(found) else DEGRADED


def is_ready(found: Report) -> bool:
    """Whether this process can serve: prices may be stale, what it stands on may not be down."""
    return all(found["checks"][name]["status"] == OK for name in ("database", "redis", "writer"))


def check_database() -> Report:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError:
        return {"status": DOWN, "connections": 0, "wal_size_mb": None}
    return {"status": OK, "connections": _open_connections(), "wal_size_mb": _wal_size_mb()}


def _open_connections() -> int:
    """Of this process."""
    return sum(known.connection is not None for known in tuple(_connections))


def _wal_size_mb() -> float | None:
    if connection.vendor != "sqlite":
        return None
    try:
        return round(os.stat(f"{connection.settings_dict['NAME']}-wal").st_size / MIB, 3)
    except OSError:
        return 0.0


def check_redis() -> tuple[Report, Board | None]:
    """The server, and what the price feed last left there."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=None
    )
    try:
        with client:
            client.ping()
            before_us = clock.monotonic_us()
            client.ping()
            latency_ms = (clock.monotonic_us() - before_us) / clock.US_PER_MS
            memory = client.info("memory")
            feed = client.get(FEED_KEY)
    except (redis.RedisError, OSError):
        return {"status": DOWN, "latency_ms": None, "memory_used_mb": None}, None
    used_mb = round(memory["used_memory"] / MIB, 2)
    check = {"status": OK, "latency_ms": round(latency_ms, 3), "memory_used_mb": used_mb}
    return check, _board_of(feed) if isinstance(feed, bytes) else None


def _board_of(feed: bytes) -> Board | None:
    board = Board()
    try:
        board.apply(decode(feed))
    except DecodeError:
        return None
    return board


def _board_of_database() -> Board:
    """Without Redis nobody says what the breaker is; the age of the newest tick limits it."""
    board = Board()
    try:
        board.apply(FeedState(recorder.newest()))
    except DatabaseError:
        return Board()
    return board


def check_price_feed(board: Board, now_us: int) -> Report:
    age_ms = board.age_ms(now_us // clock.US_PER_MS)
    if age_ms is None or age_ms > LIMITS.breaker_open_ms:
        status = DOWN
    else:
        status = STALE if age_ms > LIMITS.quote_age_ms else OK
    at = None if board.tick is None else clock.iso_ms(board.tick.at_ms * clock.US_PER_MS)
    return {"status": status, "last_update": at, "stale_for_ms": age_ms}


def check_writer() -> Report:
    """Whether somebody listens; what it does is told by its metrics."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect(str(settings.WRITER_SOCKET))
        except OSError:
            return {"status": DOWN}
    return {"status": OK}
