"""What the writer tells the other processes after a commit: one numbered message a batch."""

from typing import Any, Final

import msgspec


class Event(msgspec.Struct, array_like=True):
    """`data` is JSON-ready. Names: bet.accepted, bet.confirmed, bet.rejected, bet.resolved,
    wallet.balance; wallet.changed and key.changed only tell caches to forget the wallet."""

    wallet_id: int
    name: str
    cursor: int
    balance_micros: int
    data: dict[str, Any]


class Batch(msgspec.Struct, array_like=True):
    """`number` counts up by one from the writer's start, `epoch`; a gap means lost messages."""

    epoch: int
    number: int
    events: list[Event]


class Notice(msgspec.Struct):
    """A message of another kind, to be published after the batch's own."""

    kind: str
    payload: bytes


Told = Event | Notice

KIND: Final = "batch"

encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(Batch).decode
