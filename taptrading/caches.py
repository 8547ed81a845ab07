"""What the caches of a process save: lookups, and how many of them found something."""

from typing import Final, NamedTuple

from prometheus_client import Counter

_LOOKUPS: Final = Counter("cache_lookups", "Lookups in caches", ["cache", "found"])


class Lookups(NamedTuple):
    """The two counters of one cache: `hit.inc()`, `miss.inc()`."""

    hit: Counter
    miss: Counter


def lookups(cache: str) -> Lookups:
    return Lookups(_LOOKUPS.labels(cache, "yes"), _LOOKUPS.labels(cache, "no"))
