"""One event in, one prepared frame to every socket of this process that wants it.

Processes talk through one group of the channel layer, one message per batch or tick, never one
per client. The layer delivers at most once, so every sender numbers its messages and repeats its
last number while it is quiet: a receiver that misses one hears of it within a second and tells
its gap listeners. Nothing here knows what an event means.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from prometheus_client import Counter

from taptrading.sender import BEACON, BEACON_S, GROUP, RETRY_S, TRANSPORT_ERRORS, Sender

logger = logging.getLogger(__name__)

SILENT_BEACONS: Final = 5  # own beacons that may go unheard before subscribing anew
SENDERS_REMEMBERED: Final = 1_000

GAPS: Final = Counter("hub_gaps_total", "Times messages between processes may have been missed")

OnPayload = Callable[[bytes], None]


class Socket(Protocol):
    """What the hub knows of a connection. `deliver` must neither block nor raise."""

    def deliver(self, type: str, tail: bytes) -> None: ...


def frame_tail(type: str, data: bytes) -> bytes:
    """All of a frame but its number: the socket puts `{"seq":<n>` before it."""
    return b',"type":"%b","data":%b}' % (type.encode(), data)


class Hub:
    """This process's end of the group, and the sockets it serves."""

    def __init__(self) -> None:
        self._senders: WeakKeyDictionary[asyncio.AbstractEventLoop, Sender] = WeakKeyDictionary()
        self._callbacks: dict[str, list[OnPayload]] = {}
        self._gap_listeners: list[Callable[[], None]] = []
        self._topics: dict[str, dict[Socket, None]] = {}
        self._topics_of: dict[Socket, set[str]] = {}
        self._seen: dict[str, int] = {}
        self._silent = 0
        self._learning = False
        self.subscriptions = 0
        self.received = 0
        self.gaps = 0

    # Between processes.

    async def publish(self, kind: str, payload: bytes) -> bool:
        """To the hubs of all processes, this one's too. Bounded in time; False when lost."""
        return await self._sender().send(kind, payload)

    def on(self, kind: str, callback: OnPayload) -> Callable[[], None]:
        """Call back with each payload of this kind. Returns what ends it."""
        callbacks = self._callbacks.setdefault(kind, [])
        callbacks.append(callback)
        return lambda: callbacks.remove(callback)

    def on_gap(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever messages may have been missed: after each subscription, the first
        one too, and after a loss. Returns what ends it."""
        self._gap_listeners.append(callback)
        return lambda: self._gap_listeners.remove(callback)

    async def run(self) -> None:
        """Receive until cancelled; the transport may go away and come back meanwhile."""
        sender = self._sender()
        sender.beacon_later()
        try:
            while True:
                receiving = asyncio.create_task(self._receive())
                try:
                    await self._watch(receiving, sender)
                finally:
                    await self._unsubscribe(receiving)
                await asyncio.sleep(RETRY_S)
        finally:
            sender.stop()

    async def _receive(self) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        self.subscriptions += 1
        # Whoever sends is heard within a beacon or two; how they number is learnt meanwhile.
        self._seen.clear()
        self._learning = True
        asyncio.get_running_loop().call_later(3 * BEACON_S, self._learnt)
        self._gap("subscribed")
        while True:
            self._take(await layer.receive(channel))

    async def _watch(self, receiving: "asyncio.Task[None]", sender: Sender) -> None:
        """Return when nothing can be heard any more."""
        self._silent = 0
        while self._silent <= SILENT_BEACONS and not sender.down:
            await asyncio.wait({receiving}, timeout=BEACON_S)
            if receiving.done():
                break
            self._silent += 1

    async def _unsubscribe(self, receiving: "asyncio.Task[None]") -> None:
        # Flushed before it is cancelled: a layer that still knows the channel would wait for a
        # dead server to confirm that it is unsubscribed. One that was about to subscribe finds its
        # channel gone then, which is this flush's doing.
        ended_by_itself = receiving.done()
        try:
            async with asyncio.timeout(1):
                await get_channel_layer().flush()
        except TRANSPORT_ERRORS as error:
            logger.debug("flush: %s", error)
        receiving.cancel()
        (end,) = await asyncio.gather(receiving, return_exceptions=True)
        if ended_by_itself and isinstance(end, Exception) and not isinstance(end, TRANSPORT_ERRORS):
            raise end

    def _take(self, message: dict[str, Any]) -> None:
        self._silent = 0
        self.received += 1
        kind, sender, number = message["kind"], message["sender"], message["number"]
        known = sender in self._seen or not self._learning
        expected = self._seen.pop(sender, 0) + (kind != BEACON)
        self._seen[sender] = number
        if len(self._seen) > SENDERS_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        if known and number != expected:
            self._gap(f"{kind}: message {number} came where {expected} was due")
        payload = message["payload"]
        for callback in tuple(self._callbacks.get(kind, ())):
            self._call(callback, payload)

    def _learnt(self) -> None:
        self._learning = False

    def _gap(self, why: str) -> None:
        self.gaps += 1
        GAPS.inc()
        if self.gaps > 1:  # the first subscription is no news
            logger.warning("messages may have been missed (%s)", why)
        for listener in tuple(self._gap_listeners):
            self._call(listener)

    @staticmethod
    def _call(callback: Callable[..., None], *arguments: Any) -> None:
        """One event that cannot be handled must not deafen the process."""
        try:
            callback(*arguments)
        except Exception:
            logger.exception("an event could not be handled")

    def _sender(self) -> Sender:
        loop = asyncio.get_running_loop()
        sender = self._senders.get(loop)
        if sender is None:
            sender = self._senders[loop] = Sender()
        return sender

    # Within this process; on the event loop's thread only.

    def join(self, socket: Socket, topic: str) -> None:
        self._topics.setdefault(topic, {})[socket] = None
        self._topics_of.setdefault(socket, set()).add(topic)

    def leave(self, socket: Socket, topic: str | None = None) -> None:
        """One topic, or all of them."""
        joined = self._topics_of.get(socket, set())
        for name in [topic] if topic is not None else list(joined):
            members = self._topics.get(name, {})
            members.pop(socket, None)
            if not members:
                self._topics.pop(name, None)
            joined.discard(name)
        if not joined:
            self._topics_of.pop(socket, None)

    def members(self, topic: str) -> Collection[Socket]:
        """The sockets that joined this topic, at this moment."""
        return tuple(self._topics.get(topic, ()))

    def broadcast(self, topic: str, type: str, data: bytes) -> int:
        """`data` is JSON, encoded once; only `seq` differs per socket. Returns how many got it."""
        members = self.members(topic)
        if members:
            tail = frame_tail(type, data)
            for socket in members:
                socket.deliver(type, tail)
        return len(members)

    def is_down(self) -> bool:
        """The last message could not be sent: what the others say is not heard either."""
        return any(sender.down for sender in self._senders.values())

    def counts(self) -> dict[str, int]:
        senders = list(self._senders.values())
        return {
            "sockets": len(self._topics_of),
            "topics": len(self._topics),
            "sent": sum(sender.number for sender in senders),
            "lost": sum(sender.lost for sender in senders),
            "received": self.received,
            "gaps": self.gaps,
        }


_hub = Hub()
publish = _hub.publish
on = _hub.on
on_gap = _hub.on_gap
run = _hub.run
join = _hub.join
leave = _hub.leave
members = _hub.members
broadcast = _hub.broadcast
is_down = _hub.is_down
counts = _hub.counts
