"""What somebody should look at because somebody may be trying something: counted, and said in one
line of the log, with the network that a client is in instead of its address.
"""

import logging
from typing import Any, Final, Literal, get_args

from prometheus_client import Counter

from taptrading.clock import US_PER_S
from taptrading.limiter import TokenBuckets
from taptrading.logs import mask_client

log = logging.getLogger(__name__)

Kind = Literal[
    "bad_signatures",  # many bets or sign-ins from one address that nobody signed
    "custody_signature",  # an event that the custodian did not sign
    "staff_lockout",  # too many failed sign-ins of one of the staff
    "role_change",  # somebody's rights are others now
    "breaker_override",  # an operator has overruled the breaker
]

EVENTS: Final = Counter("security_events_total", "What somebody should look at", ["kind"])
for _kind in get_args(Kind):
    EVENTS.labels(_kind)  # there from the start: the first one is an increase too


def event(kind: Kind, **facts: Any) -> None:
    EVENTS.labels(kind).inc()
    log.warning("security event", extra={"kind": kind, **facts})


class Repeated:
    """Makes an event of what is harmless once: more than `most` within a minute by one client, and
    one event a minute for each."""

    def __init__(self, kind: Kind, most: int = 10) -> None:
        self._kind = kind
        self._most = most
        self._tries = TokenBuckets(burst=most, period_us=60 * US_PER_S // most)
        self._told = TokenBuckets(burst=1, period_us=60 * US_PER_S)

    def seen(self, client: str, now_us: int) -> None:
        too_many = not self._tries.take(client, now_us).allowed
        if too_many and self._told.take(client, now_us).allowed:
            event(self._kind, client=mask_client(client), more_than=self._most)


bad_signatures: Final = Repeated("bad_signatures")
