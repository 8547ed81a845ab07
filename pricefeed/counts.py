"""What the price feed counts. The two gauges read the board of whichever process is asked."""

from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pricefeed.board import OPEN, board
from taptrading import clock, metrics

ticks = Counter("pricefeed_ticks_total", "Index ticks recorded")
missed_marks = Counter("pricefeed_missed_marks_total", "Marks without an index price")
messages = Counter("pricefeed_messages_total", "Events of sources that were used", ["source"])
used_at = Gauge(
    "pricefeed_source_used_timestamp",
    "When a message of the source was last used",
    ["source"],
    multiprocess_mode="mostrecent",
)
refusals = Counter("pricefeed_refusals_total", "Messages refused", ["source", "reason"])
reconnects = Counter("pricefeed_reconnects_total", "Connections opened anew", ["source"])
# An instant, not an age: of a feed that hangs it says how long it has done so.
source_heard = Gauge(
    "pricefeed_source_heard_timestamp_seconds",
    "When a source was last heard from; 0: never",
    ["source"],
    multiprocess_mode="mostrecent",
)
record_failures = Counter("pricefeed_record_failures_total", "Transactions of ticks that failed")


def _staleness_s() -> float:
    age_ms = board.age_ms(clock.now_ms())
    return float("inf") if age_ms is None else age_ms / 1_000


def _breaker_state() -> float:
    return 1.0 if board.breaker(clock.now_ms()) == OPEN else 0.0


class Present(Collector):
    """Asked, not kept: with several processes, kept gauges are summed up from files."""

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "price_feed_staleness_seconds", "Age of the newest index tick", _staleness_s()
        )
        yield GaugeMetricFamily(
            "circuit_breaker_state", "0 closed or degraded, 1 open", _breaker_state()
        )


present = Present()
REGISTRY.register(present)


def expect(source: str) -> None:
    """There from the start: the first one is an increase too."""
    messages.labels(source)
    refusals.labels(source, "unknown_form")
    reconnects.labels(source)


_used_us: dict[str, int] = {}


def used(source: str) -> None:
    """A message of it went into the index."""
    messages.labels(source).inc()
    _used_us[source] = clock.now_us()


def _flush() -> None:
    for source, at_us in _used_us.items():
        used_at.labels(source).set(at_us / clock.US_PER_S)


metrics.on_flush(_flush)


def refused(source: str, reason: str) -> None:
    refusals.labels(source, reason).inc()


def reconnected(source: str) -> None:
    reconnects.labels(source).inc()
