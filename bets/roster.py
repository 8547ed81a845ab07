"""The open sockets of this process: how many there are, in all and from one address."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client import Gauge

from bets.following import Follower
from taptrading import metrics
from taptrading.limits import LIMITS


class Open(Protocol):
    follower: Follower | None

    def deliver(self, type: str, tail: bytes) -> None: ...

    def close(self, code: int) -> None: ...

    async def check_session(self) -> None: ...


class Roster:
    def __init__(self) -> None:
        self._open: dict[Open, str] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Open]:
        return iter(tuple(self._open))

    def admit(self, socket: Open, address: str) -> bool:
        """False when the process, or this address, has its fill."""
        if (
            len(self._open) >= LIMITS.sockets_per_process
            or self._by_address[address] >= LIMITS.sockets_per_address
        ):
            return False
        self._open[socket] = address
        self._by_address[address] += 1
        return True

    def leave(self, socket: Open) -> None:
        address = self._open.pop(socket, None)
        if address is None:
            return
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


roster: Final = Roster()
SOCKETS: Final = Gauge("websocket_connections", "Open sockets", multiprocess_mode="livesum")
metrics.on_flush(lambda: SOCKETS.set(len(roster)))
