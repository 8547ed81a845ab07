"""A simulated Redis, as far as the money path speaks to it: nonces and the feed's key.

It may be away, lose what it knows, carry a command out and lose the answer, or kill nobody but
make its caller die. Keys expire by the machine's wall clock, as the real one's do.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import redis

from tests.simulation.world import MS, Died, World

_Change = Callable[[], None]


class KeyStore:
    def __init__(self, world: World) -> None:
        self.world = world
        self.on = False
        self.away_until_us = 0
        self.lost_answer = 0.0
        self.forgot = 0  # how often something that it was told was lost
        self._keys: dict[str, tuple[bytes, int]] = {}

    # What breaks.

    def lose_everything(self) -> None:
        self.forgot += 1
        self._keys.clear()

    def lose_some(self) -> None:
        """An append-only file without its last second."""
        self.forgot += 1
        for key in list(self._keys):
            if self.world.chance(0.5):
                del self._keys[key]

    # The client that `Nonces` is given.

    def register_script(self, text: str) -> Callable[..., Any]:
        """Of the one script there is."""
        return self._claim

    def pipeline(self, *, transaction: bool) -> "Pipeline":
        return Pipeline(self)

    def put(self, key: str, value: bytes) -> bool:
        """For those who speak to it without waiting; False when it is away."""
        if self._is_away():
            return False
        self._keys[key] = (value, 1 << 62)
        return True

    def get(self, key: str) -> bytes | None:
        """Raises redis.ConnectionError."""
        self._reach()
        return self._live(key)

    def remove(self, key: str) -> None:
        self._keys.pop(key, None)

    # Inside.

    def _is_away(self) -> bool:
        return self.world.us < self.away_until_us

    def _reach(self) -> None:
        process = self.world.current
        if process is not None and process.died:
            raise Died
        self.world.pass_time(100)
        if self._is_away():
            raise redis.ConnectionError("simulated: away")

    def answer(self, value: Any) -> Any:
        """On its way back to the caller, who may never get it."""
        if self.on and self.world.chance(self.lost_answer):
            self.world.fault("Redis' answer lost")
            self.world.pass_time(500 * MS)
            raise redis.TimeoutError("simulated: no answer")
        return value

    def _live(self, key: str) -> bytes | None:
        found = self._keys.get(key)
        if found is None or found[1] <= self.world.wall_us:
            return None
        return found[0]

    def store(self, key: str, value: bytes, px: int) -> None:
        self._keys[key] = (value, self.world.wall_us + px * MS)

    def msetex(self, mapping: dict[str, str], option: Any, *, px: int) -> Any:
        """All of them, if all are free."""
        self._reach()
        free = all(self._live(key) is None for key in mapping)
        if free:
            for key, value in mapping.items():
                self.store(key, value.encode(), px)
        return self.answer(int(free))

    def _claim(self, args: list[Any]) -> Any:
        """The script of `wallet/nonces.py`, line by line."""
        self._reach()
        node, ttl, packed = args
        taken: list[Any] = []
        for place, key in enumerate(msgspec.msgpack.decode(packed), 1):
            known = self._live(key)
            if known is None:
                self.store(key, str(node).encode(), int(ttl))
            else:
                taken += [place, known]
        return self.answer(taken)


class Pipeline:
    """Commands that go out together; the connection may break anywhere among them."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._changes: list[_Change] = []

    def __len__(self) -> int:
        return len(self._changes)

    def delete(self, key: str) -> None:
        self._changes.append(lambda: self._store.remove(key))

    def set(self, key: str, value: bytes, px: int) -> None:
        self._changes.append(lambda: self._store.store(key, value, px))

    def execute(self) -> list[Any]:
        store = self._store
        store._reach()
        if store.on and store.world.chance(store.lost_answer):
            store.world.fault("Redis' pipeline cut")
            for change in self._changes[: store.world.random.randrange(len(self._changes) + 1)]:
                change()
            raise redis.ConnectionError("simulated: cut")
        for change in self._changes:
            change()
        answers: list[Any] = store.answer([None] * len(self._changes))
        return answers
