"""What the writer has not told the others yet, bounded.

A message costs the writer a third of a millisecond, and whoever hears it something too, however
little is in it. So what happens while one is on its way goes into the next one together.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from wallet import events
from wallet.events import Event, Notice

EVENTS_AT_ONCE: Final = 1_000
NOTICES_MAX: Final = 10_000
EVENTS_MAX: Final = 200_000


class Untold:
    """Events in their order, in numbered messages; after them the notices of other kinds, in
    theirs, but of a kind whose newest notice says it all only that one."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._number = 0
        self._events: deque[Event] = deque()
        self._notices: deque[Notice] = deque()

    def __len__(self) -> int:
        """Messages."""
        return -(-len(self._events) // EVENTS_AT_ONCE) + len(self._notices)

    def beginning(self) -> Notice:
        """The message before any other: whoever hears it has missed what a writer that died did
        not get to say."""
        return Notice(events.KIND, events.encode(self._epoch, 0, []))

    def add(self, happened: Sequence[Event]) -> None:
        """Events of a batch. The oldest are lost when nobody takes them, which the numbers show."""
        self._events.extend(happened)
        if len(self._events) > EVENTS_MAX:
            self._number += 1
            for _ in range(len(self._events) - EVENTS_MAX):
                self._events.popleft()

    def notify(self, notice: Notice) -> None:
        """The oldest are lost when nobody takes them."""
        if notice.says_all:
            self._notices = deque(n for n in self._notices if n.kind != notice.kind)
        self._notices.append(notice)
        if len(self._notices) > NOTICES_MAX:
            self._notices.popleft()

    def popleft(self) -> Notice:
        """The next message. Raises IndexError."""
        if not self._events:
            return self._notices.popleft()
        count = min(len(self._events), EVENTS_AT_ONCE)
        self._number += 1
        told = [self._events.popleft() for _ in range(count)]
        return Notice(events.KIND, events.encode(self._epoch, self._number, told))
