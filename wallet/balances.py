"""Redis' copy of the balances, for whoever reads many of them or must not touch the database.

Told by the writer after each commit, in order, so it trails the ledger by one batch at most, and
built anew when the writer starts or finds it gone. Nothing decides by it: the database is the
truth, and no bet is ever refused for what stands here.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
import redis
import redis.asyncio

from wallet.events import Event, Notice
from wallet.models import Wallet

KIND: Final = "balances"
KEY: Final = "tap:balances"
CHUNK_ROWS: Final = 1_000

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[int, int]).decode


def notice(events: list[Event]) -> Notice | None:
    """The players' balances after a batch; None if it changed none."""
    found = {event.wallet_id: event.balance_micros for event in events if event.cursor}
    return Notice(KIND, _encode(found)) if found else None


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


async def store(client: "redis.asyncio.Redis", payload: bytes) -> None:
    """Raises redis.RedisError."""
    await client.hset(KEY, mapping={str(key): value for key, value in _decode(payload).items()})


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
