"""One trader's bets on one socket: a snapshot, then events; a snapshot again after a gap.

The socket joins its wallet's topic first and holds events back until the snapshot is sent, so
nothing falls between the two. A bet placed on this very socket is told once, with its `id`.
"""

import asyncio
import logging
from collections import OrderedDict
from typing import Any, Final, Protocol

from django.db import Error as DatabaseError

from bets.wire import BetFacts
from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet.events import Event

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
INTERNAL_ERROR: Final = 1011
_TAPS_REMEMBERED: Final = 256


class Line(Protocol):
    """What a follower needs of its socket."""

    def say(self, type: str, data: dict[str, Any]) -> None: ...

    def deliver(self, type: str, tail: bytes) -> None: ...

    def close(self, code: int) -> None: ...

    async def load(self, wallet_id: int, since: int | None) -> dict[str, Any] | None:
        """The snapshot; None when the session has ended. Raises django.db.Error."""


def readable(event: Event) -> Event:
    """The event with JSON-ready data."""
    if isinstance(event.data, list):
        event.data = BetFacts(*event.data).json()
    return event


def event_data(event: Event) -> dict[str, Any]:
    """The data of an event's frame."""
    return {**event.data, "cursor": event.cursor, "balance_micros": event.balance_micros}


def refusal_data(refusal: Refusal) -> dict[str, Any]:
    return {"error": refusal.code, "message": refusal.sentence, "detail": refusal.detail}


class Taps:
    """Bets placed on this socket, by nonce: their reply and their event are the same news."""

    def __init__(self) -> None:
        self.under_way: dict[str, Any] = {}  # nonce -> the trader's own id
        self._told: OrderedDict[str, None] = OrderedDict()

    def replied(self, nonce: str) -> bool:
        """The tap is over. False: its event came first and told the news."""
        self.under_way.pop(nonce, None)
        if nonce in self._told:
            del self._told[nonce]
            return False
        return True

    def told(self, nonce: str) -> None:
        self._told[nonce] = None
        if len(self._told) > _TAPS_REMEMBERED:
            self._told.popitem(last=False)

    def is_told(self, nonce: str) -> bool:
        return nonce in self._told


class Follower:
    """Member of the hub's topic `wallet:<id>`."""

    def __init__(self, wallet_id: int, line: Line, taps: Taps) -> None:
        self.wallet_id = wallet_id
        self.topic = f"wallet:{wallet_id}"
        self._line = line
        self.deliver = line.deliver
        self._taps = taps
        self._held: list[tuple[Event, bytes]] = []
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._since: int | None = None
        self._floor = -1  # the last snapshot's cursor: what it covers is no news

    def refresh(self, since: int | None) -> None:
        """Send a snapshot; what was decided after the cursor `since` is in its `missed`."""
        self._since = since
        if self._task is None:
            self._task = asyncio.create_task(self._refresh())
        else:
            self._again = True

    def gap(self) -> None:
        """Events may have been missed."""
        self.refresh(self._since)

    def event(self, event: Event, tail: bytes) -> None:
        """`tail` is the frame as prepared for all sockets of this wallet."""
        if self._task is None:
            self._pass(event, tail)
        elif len(self._held) < LIMITS.socket_queue_frames:
            self._held.append((event, tail))
        else:  # a snapshot taken from now on covers them all
            self._held.clear()
            self._again = True

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _refresh(self) -> None:
        try:
            found = await self._read()
        except Exception:
            logger.exception("a snapshot failed")
            self._line.close(INTERNAL_ERROR)
            return
        if found is None:
            return
        self._floor = found["cursor"]
        self._since = max(self._since or 0, self._floor)
        self._line.say("snapshot", found)
        held, self._held, self._task = self._held, [], None
        for event, tail in held:
            self._pass(event, tail)

    async def _read(self) -> dict[str, Any] | None:
        told = False
        while True:
            self._again = False
            try:
                found = await self._line.load(self.wallet_id, self._since)
            except DatabaseError as error:
                logger.warning("a snapshot could not be read: %s", error)
                if not told:
                    self._line.say("error", refusal_data(Refusal("dependency_unavailable")))
                    told = True
                await asyncio.sleep(clock.real_seconds(RETRY_S))
                continue
            if not self._again:
                return found

    def _pass(self, event: Event, tail: bytes) -> None:
        if event.cursor <= self._floor:
            return
        self._since = max(self._since or 0, event.cursor)
        if event.name == "bet.accepted" and self._is_own(event):
            return
        self.deliver(event.name, tail)

    def _is_own(self, event: Event) -> bool:
        """Whether a tap on this socket made this bet; the news is then told here or was before."""
        nonce = event.data["nonce"]
        if nonce not in self._taps.under_way:
            return self._taps.is_told(nonce)
        if not self._taps.is_told(nonce):
            self._taps.told(nonce)
            self._line.say(event.name, {"id": self._taps.under_way[nonce], **event_data(event)})
        return True
