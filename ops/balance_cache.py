"""Redis' copy of the balances: does it say what the database says, and may it be built anew?

The writer alone writes it, in the order of its commits, and all of it again within a second of
finding it gone. So to build it anew is to take it away and wait.
"""

import time
from typing import Final, NamedTuple

import redis

from wallet import balances
from wallet.models import Wallet

PATIENCE_S: Final = 15.0
_LOOK_S: Final = 0.1
# Balances change while one is compared with the other; what was told late agrees a moment later.
_LOOKS: Final = 5
_LATE_S: Final = 2 * balances.TELL_EVERY_S
_pause = time.sleep


class NotTold(Exception):
    """The writer does not tell the balances: is it running?"""


class Compared(NamedTuple):
    """How many wallets there are; how many Redis knows nothing, or something else, of."""

    wallets: int
    missing: int
    wrong: int

    @property
    def agree(self) -> bool:
        return not self.missing and not self.wrong


def compare(client: "redis.Redis") -> Compared:
    """Raises redis.RedisError or django.db.Error."""
    wallets = missing = wrong = last = 0
    while chunk := _balances_after(last):
        wallets += len(chunk)
        last = max(chunk)
        for _ in range(_LOOKS):
            told = balances.read(client, list(chunk))
            chunk = {pk: micros for pk, micros in chunk.items() if told.get(pk) != micros}
            if not chunk:
                break
            _pause(_LATE_S)
            chunk = _balances_of(list(chunk))
        unknown = sum(told.get(pk) is None for pk in chunk)
        missing += unknown
        wrong += len(chunk) - unknown
    return Compared(wallets, missing, wrong)


def _balances_after(wallet_id: int) -> dict[int, int]:
    players = Wallet.objects.filter(kind=Wallet.Kind.PLAYER, pk__gt=wallet_id).order_by("pk")
    return dict(players.values_list("pk", "balance_micros")[: balances.CHUNK_ROWS])


def _balances_of(wallet_ids: list[int]) -> dict[int, int]:
    return dict(Wallet.objects.filter(pk__in=wallet_ids).values_list("pk", "balance_micros"))


def rebuild(client: "redis.Redis") -> Compared:
    """Take it away, and wait until the writer has told it again. Raises NotTold, redis.RedisError
    or django.db.Error."""
    client.delete(balances.KEY)
    give_up = time.monotonic() + PATIENCE_S
    while _balances_after(0) and not client.exists(balances.KEY):
        if time.monotonic() > give_up:
            raise NotTold
        _pause(_LOOK_S)
    while not (found := compare(client)).agree and time.monotonic() < give_up:
        _pause(_LOOK_S)
    return found
