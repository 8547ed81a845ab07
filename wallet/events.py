"""What the writer tells the other processes after commits: numbered messages, of one batch or of
some that follow each other.

Most events concern a wallet whose owner listens in another process or nowhere, so a batch is
written to be skimmed: whom it concerns first, and the events themselves to be decoded singly.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec


class Event(msgspec.Struct, array_like=True, gc=False):
    """`data` is JSON-ready, or a bet's facts as an array. Names: bet.accepted, bet.confirmed,
    bet.rejected, bet.resolved, wallet.balance; wallet.changed and key.changed only tell caches to
    forget the wallet."""

    wallet_id: int
    name: str
    cursor: int
    balance_micros: int
    data: Any


FORGET: Final = frozenset({"wallet.changed", "key.changed"})


class Batch(msgspec.Struct, array_like=True):
    """As it is heard. `number` counts up by one from the writer's start, `epoch`; a gap means
    lost messages. `forget` are wallets whose cached facts have changed; `news` are events, each
    for `decode_event`, of the wallets that stand at their places in `wallets`."""

    epoch: int
    number: int
    forget: list[int]
    wallets: list[int]
    news: list[msgspec.Raw]


class Notice(msgspec.Struct):
    """A message of another kind, to be published after the batch's own; one that `says_all` makes
    those of its kind before it superfluous."""

    kind: str
    payload: bytes
    says_all: bool = False


Told = Event | Notice

KIND: Final = "batch"

_encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(Batch).decode
decode_event: Final = msgspec.msgpack.Decoder(Event).decode


def encode(epoch: int, number: int, events: Sequence[Event]) -> bytes:
    forget = [event.wallet_id for event in events if event.name in FORGET]
    news = [event for event in events if event.name not in FORGET] if forget else events
    return _encode((epoch, number, forget, [event.wallet_id for event in news], news))
