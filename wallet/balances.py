"""Redis' copy of the balances, for whoever reads many of them or must not touch the database.

Told by the writer after its commits, in order, ten times a second at most, and built anew when the
writer starts or finds it gone. Nothing decides by it: the database is the
truth, and no bet is ever refused for what stands here.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import redis
import redis.asyncio
from redis.connection import HiredisRespSerializer

from wallet.events import Event, Notice
from wallet.models import Wallet

KIND: Final = "balances"
KEY: Final = "tap:balances"
CHUNK_ROWS: Final = 1_000
TELL_EVERY_S: Final = 0.1

_SERIALIZER: Final = HiredisRespSerializer()
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[int, int]).decode


class Changes:
    """Players' balances that changed since they were last told: the newest of each wallet."""

    def __init__(self) -> None:
        self._found: dict[int, int] = {}
        self._told_s = 0.0

    def add(self, events: list[Event]) -> None:
        self._found |= {event.wallet_id: event.balance_micros for event in events if event.cursor}

    def notice(self, now_s: float) -> Notice | None:
        """What is to be told at this monotonic time; None while there is nothing, or too early."""
        if not self._found or now_s - self._told_s < TELL_EVERY_S:
            return None
        found, self._found, self._told_s = self._found, {}, now_s
        return Notice(KIND, _encode(found))


def everything() -> Iterator[Notice]:
    """All players' balances, a bounded chunk at a time."""
    last = 0
    while True:
        rows = Wallet.objects.filter(kind=Wallet.Kind.PLAYER, pk__gt=last).order_by("pk")
        chunk = dict(rows.values_list("pk", "balance_micros")[:CHUNK_ROWS])
        if not chunk:
            return
        last = max(chunk)
        yield Notice(KIND, _encode(chunk))


class _PacksInC:
    """The library's own loop copies what it has packed so far for every argument: 2 to 5 ms of the
    writer's time for the balances that change in a busy tenth of a second."""

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = _SERIALIZER.pack(*args)
        return packed


def client(url: str) -> "redis.asyncio.Redis":
    """For `store`, with a second's patience."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0)
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_PacksInC, pool.connection_class), {})
    return client


async def store(client: "redis.asyncio.Redis", payload: bytes) -> None:
    """Raises redis.RedisError."""
    # Bytes, for the client takes half as long again to encode anything else.
    await client.hset(KEY, mapping={b"%d" % k: b"%d" % v for k, v in _decode(payload).items()})


async def is_missing(client: "redis.asyncio.Redis") -> bool:
    """Raises redis.RedisError."""
    return not await client.exists(KEY)


def read(client: "redis.Redis", wallet_ids: list[int]) -> dict[int, int]:
    """wallet id -> micros, of those that are known. Raises redis.RedisError."""
    values = client.hmget(KEY, [str(wallet_id) for wallet_id in wallet_ids])
    return {
        wallet_id: int(value)
        for wallet_id, value in zip(wallet_ids, values, strict=True)
        if value is not None
    }
