"""The port through which prices come in; each venue, the recordings and the simulation fill it.

A source hands out events in order of its own receive time. Asked for what it received up to an
instant, it answers the same whatever the scheduling, so a late loop loses nothing but time.
"""

from collections.abc import Callable
from typing import Protocol

from pricefeed.ticks import Event

# (source, reason): a message was refused.
Refused = Callable[[str, str], None]


class Source(Protocol):
    name: str
    # How far back a late loop may make up missed marks.
    catch_up_ms: int

    async def start(self, now_us: int) -> int:
        """Begin; answers the instant since which this source can tell prices: now for a venue,
        earlier for one that brings a past of its own."""
        ...

    async def stop(self) -> None: ...

    def drain(self, until_us: int) -> list[Event]:
        """Everything received up to and including this instant and not drained before."""
        ...

    def is_lost(self) -> bool:
        """The connection is down: what was heard from it no longer counts."""
        ...
