"""What every process counts, and how it is kept cheap.

Counters that processes share are files in memory: some microseconds each, which is too much for
every bet. So what comes by the thousand is added up in plain numbers, and `flush` writes them
down once a second (`taptrading/vitals.py`): what is read of `/metrics` is that much behind.

No label takes what a client chose: an endpoint is the template of a route, never a path.
"""

import atexit
import contextlib
import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "OTHER"
UNROUTED: Final = "unrouted"
# A client that left before there was an answer; nginx calls it that as well.
LEFT: Final = 499

REQUESTS: Final = Counter(
    "http_requests_total", "Requests answered", ["method", "endpoint", "status"]
)


class BulkHistogram(Histogram):
    """A histogram that takes observations that were sorted into its buckets before."""

    def observe_many(self, counts: Sequence[int], sum_: float) -> None:
        """`counts` holds how many fell into each bucket, the one above all bounds included."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(sum_)


DURATION: Final = BulkHistogram(
    "http_request_duration_seconds",
    "Time from a request to its answer",
    ["method", "endpoint"],
    buckets=SECONDS,
)

# What is called before the metrics are written down or read.
_flushers: list[Callable[[], None]] = []


def on_flush(flusher: Callable[[], None]) -> None:
    """Call `flusher` on the loop's thread whenever what was added up is to be written down."""
    _flushers.append(flusher)


def flush() -> None:
    """Write down what was added up in this process."""
    for flusher in _flushers:
        flusher()


class Peak:
    """How full a bounded queue was at most since the last flush, as a share of its bound."""

    def __init__(self, gauge: Gauge, bound: int) -> None:
        self._gauge = gauge
        self._bound = bound
        self._now = self._most = 0
        on_flush(self.flush)

    def note(self, depth: int) -> None:
        self._now = depth
        if depth > self._most:
            self._most = depth

    def flush(self) -> None:
        self._gauge.set(self._most / self._bound)
        self._most = self._now


class Answers:
    """The answers of one endpoint to one method since the last flush. On one thread only."""

    __slots__ = ("_counts", "_labels", "_statuses", "_sum")

    def __init__(self, method: str, endpoint: str) -> None:
        self._labels = (method, endpoint)
        self._statuses: dict[int, int] = {}
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def add(self, status: int, seconds: float) -> None:
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum += seconds

    def flush(self) -> None:
        if not self._statuses:
            return
        for status, count in self._statuses.items():
            REQUESTS.labels(*self._labels, status).inc(count)
        DURATION.labels(*self._labels).observe_many(self._counts, self._sum)
        self._statuses = {}
        self._counts = [0] * len(self._counts)
        self._sum = 0.0


_answers: dict[tuple[str, str], Answers] = {}


def answers(method: str, endpoint: str) -> Answers:
    """Where the answers to this method on this endpoint are added up."""
    found = _answers.get((method, endpoint))
    if found is None:
        known = method if method in METHODS else OTHER_METHOD
        found = _answers.setdefault((known, endpoint), Answers(known, endpoint))
    return found


def _flush_answers() -> None:
    for one in _answers.values():
        one.flush()


on_flush(_flush_answers)


def answered(method: str, endpoint: str, status: int, seconds: float) -> None:
    """Count one answer at once, on any thread: for processes that have no event loop."""
    known = method if method in METHODS else OTHER_METHOD
    REQUESTS.labels(known, endpoint, status).inc()
    DURATION.labels(known, endpoint).observe(seconds)


@lru_cache(maxsize=1_000)
def template_of(route: str) -> str:
    """A Django route as a label: `^healthz/?$` is `/healthz`."""
    plain = route.removeprefix("^").removesuffix("$").removesuffix("/?").removesuffix("/")
    return f"/{plain}"


SEEN: Final = "taptrading.seen"


class Seen:
    """`send` of one request, which notes what was answered. Whoever knows the route says which
    it is; the scope carries this object to wherever that is."""

    __slots__ = ("_method", "_send", "_started", "_status", "endpoint")

    def __init__(self, scope: Any, send: Callable[[Any], Any], endpoint: str = UNROUTED) -> None:
        self._method = scope["method"]
        self._send = send
        self._started = perf_counter()
        self._status = LEFT
        self.endpoint = endpoint
        scope[SEEN] = self

    def __call__(self, message: Any) -> Any:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        return self._send(message)

    def count(self) -> None:
        answers(self._method, self.endpoint).add(self._status, perf_counter() - self._started)


def forget_process(pid: int) -> None:
    """A process has ended: what it had open, waiting or connected is no more. What it counted
    stays."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is not None:
        with contextlib.suppress(FileNotFoundError):  # it has said so itself meanwhile
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def forget_when_over() -> None:
    """For processes that end by themselves and that nobody looks after."""
    atexit.register(lambda: forget_process(os.getpid()))
