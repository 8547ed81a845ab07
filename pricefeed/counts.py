"""What the price feed counts. The two gauges read this process's board, in any process."""

from prometheus_client import Counter, Gauge

from pricefeed.board import OPEN, board
from taptrading import clock

ticks = Counter("pricefeed_ticks_total", "Index ticks recorded")
missed_marks = Counter("pricefeed_missed_marks_total", "Marks without an index price")
messages = Counter("pricefeed_messages_total", "Events of sources that were used", ["source"])
refusals = Counter("pricefeed_refusals_total", "Messages refused", ["source", "reason"])
reconnects = Counter("pricefeed_reconnects_total", "Connections opened anew", ["source"])
record_failures = Counter("pricefeed_record_failures_total", "Transactions of ticks that failed")


def _staleness_s() -> float:
    age_ms = board.age_ms(clock.now_ms())
    return float("inf") if age_ms is None else age_ms / 1_000


def _breaker_state() -> float:
    return 1.0 if board.breaker(clock.now_ms()) == OPEN else 0.0


staleness = Gauge("price_feed_staleness_seconds", "Age of the newest index tick")
staleness.set_function(_staleness_s)
breaker_state = Gauge("circuit_breaker_state", "0 closed or degraded, 1 open")
breaker_state.set_function(_breaker_state)


def refused(source: str, reason: str) -> None:
    refusals.labels(source, reason).inc()


def reconnected(source: str) -> None:
    reconnects.labels(source).inc()
