"""Is the platform well? What the monitors ask, answered at most once a second.

Names no host, no path and no secret: monitors are not signed in.
"""

import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from msgspec import DecodeError

from pricefeed import recorder
from pricefeed.board import FEED_KEY, Board, FeedState, decode
from taptrading import clock
from taptrading.limits import LIMITS, MIB
from taptrading.vitals import open_connections
from wallet.protocol import encode_frame

OK: Final = "ok"
DEGRADED: Final = "degraded"
STALE: Final = "stale"
DOWN: Final = "down"
FRESH_US: Final = clock.US_PER_S
BEARABLE_US: Final = 5 * clock.US_PER_S
PATIENCE_S: Final = 1.0
DEPENDENCIES: Final = ("database", "redis", "writer")

Report = dict[str, Any]

_NOTHING: Final = encode_frame(0, [])

T = TypeVar("T")


class Remembered(Generic[T]):
    """The last answer while it is fresh, a second; one of those who ask makes it anew.

    Making it may take seconds when what is asked hangs. Whoever comes meanwhile gets the last
    one, so that a hanging part does not take the threads that serve traders; if that is too old
    to be true, they wait.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._last: tuple[int, T] | None = None

    def __call__(self) -> T:
        last = self._last
        if last is not None and _age_us(last[0]) < FRESH_US:
            return last[1]
        bearable = last is not None and _age_us(last[0]) < BEARABLE_US
        if not self._lock.acquire(blocking=not bearable):
            assert last is not None
            return last[1]
        try:
            return self._fresh()
        finally:
            self._lock.release()

    def _fresh(self) -> T:
        """Made now, unless somebody else did while we waited."""
        if self._last is None or _age_us(self._last[0]) >= FRESH_US:
            made = self._make()
            self._last = (clock.monotonic_us(), made)
        return self._last[1]


def _age_us(made_us: int) -> int:
    """A clock that was set back makes everything old."""
    age_us = clock.monotonic_us() - made_us
    return age_us if age_us >= 0 else BEARABLE_US


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


healthz: Final[Remembered[Report]] = Remembered(report)


def overall(checks: dict[str, Report]) -> str:
    """Down: a dependency is. Degraded: the platform does its work, but bets may be refused."""
    found = [check["status"] for check in checks.values()]
    if DOWN in found:
        return DOWN
    healthy = {OK, "closed"}
    return OK if healthy.issuperset(found) else DEGRADED


def is_ready(found: Report) -> bool:
    """Whether this process can serve: prices may be stale, what it stands on may not be down."""
    return all(found["checks"][name]["status"] == OK for name in DEPENDENCIES)


def check_database() -> Report:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError:
        return {"status": DOWN, "connections": 0, "wal_size_mb": None}
    return {"status": OK, "connections": open_connections(), "wal_size_mb": _wal_size_mb()}


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
    """Whether it answers a batch of nothing: one that is stuck would still be connected to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect(str(settings.WRITER_SOCKET))
            probe.sendall(_NOTHING)
            answered = probe.recv(len(_NOTHING)) == _NOTHING
        except OSError:
            answered = False
    return {"status": OK if answered else DOWN}
