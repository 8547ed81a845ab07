"""The pulse of a process with an event loop: once a second it writes down what was added up, and
how the loop and its connections are.

Real time, whatever the platform's clock does: what is measured is this machine.
"""

import asyncio
import logging
from typing import Final
from weakref import WeakSet

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from prometheus_client import Gauge

from taptrading import metrics

log = logging.getLogger(__name__)

PULSE_S: Final = 1.0
SAMPLES: Final = 10

LOOP_LAG: Final = Gauge(
    "event_loop_lag_seconds",
    "The longest that the event loop was late within the last second",
    ["process"],
    multiprocess_mode="livemax",
)
CONNECTIONS: Final = Gauge(
    "database_connections",
    "Open connections to the database",
    multiprocess_mode="livesum",
)
_connections: WeakSet[BaseDatabaseWrapper] = WeakSet()


def _remember_connection(connection: BaseDatabaseWrapper, **_: object) -> None:
    _connections.add(connection)
    CONNECTIONS.set(open_connections())


connection_created.connect(_remember_connection)


def open_connections() -> int:
    """Of this process."""
    return sum(known.connection is not None for known in tuple(_connections))


metrics.on_flush(lambda: CONNECTIONS.set(open_connections()))


async def pulse(process: str) -> None:
    """Until cancelled; what was added up is written down then too."""
    lag = LOOP_LAG.labels(process)
    try:
        while True:
            lag.set(await _longest_lag_s())
            _flush()
    finally:
        _flush()


async def _longest_lag_s() -> float:
    loop = asyncio.get_running_loop()
    worst_s = 0.0
    for _ in range(SAMPLES):
        due_s = loop.time() + PULSE_S / SAMPLES
        await asyncio.sleep(PULSE_S / SAMPLES)
        worst_s = max(worst_s, loop.time() - due_s)
    return worst_s


def _flush() -> None:
    """Figures that cannot be written down are no reason to end a process that serves."""
    try:
        metrics.flush()
    except Exception:
        log.exception("figures could not be written down")
