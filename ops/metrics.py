"""What `/metrics` answers: what all processes of the platform have counted, and what is asked at
that moment because nobody keeps it. A second old at most, however many ask.
"""

import os
from collections.abc import Iterable
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ops import health
from pricefeed import counts
from taptrading import disk


class Dependencies(Collector):
    """What the platform stands on, as `/healthz` says it: asked, or a process that died could not
    be told from one that has nothing to say."""

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "dependency_up", "1 if it does its work, 0 if not", labels=["dependency"]
        )
        for name, check in health.healthz()["checks"].items():
            if name in health.DEPENDENCIES:
                family.add_metric([name], float(check["status"] == health.OK))
        yield family


class Disk(Collector):
    def collect(self) -> Iterable[Metric]:
        room = disk.room()
        yield GaugeMetricFamily(
            "data_disk_free_ratio",
            "Share of the data folder's disk that is free",
            room.free_ratio,
        )
        yield GaugeMetricFamily(
            "data_disk_level",
            "0: room enough, 1: it is said, 2: room is made, 3: no bet is taken",
            room.level(),
        )


_ASKED: Final = (Dependencies(), Disk())


def _text() -> bytes:
    asked = CollectorRegistry()
    for collector in _ASKED:
        asked.register(collector)
    return generate_latest(counted()) + generate_latest(asked)


def counted() -> CollectorRegistry:
    """Of this process, or of all that share PROMETHEUS_MULTIPROC_DIR."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(counts.present)
    return registry


text: Final = health.Remembered(_text)
