"""This process's memory of wallets and their session keys, for checking signed bets.

Filled from the database on the first use of a wallet, forgotten when the writer says that it has
changed. It only spares the writer hopeless bets: the writer checks again on its own rows.
"""

from collections import OrderedDict
from typing import Final

import msgspec
from prometheus_client import Counter

from taptrading.limits import LIMITS

LOOKUPS: Final = Counter("wallet_cache_lookups_total", "Wallets looked up in memory", ["found"])
_HIT, _MISS = LOOKUPS.labels("yes"), LOOKUPS.labels("no")
HITS_COUNTED: Final = 64  # at a time: counters shared by processes are slow, and hits are many


class KeyFacts(msgspec.Struct, frozen=True):
    id: int
    max_stake_micros: int
    left_micros: int
    expires_at_us: int
    revoked: bool


class WalletFacts(msgspec.Struct, frozen=True):
    id: int
    address: str
    frozen: bool
    keys: dict[str, KeyFacts]


class Directory:
    """On the event loop's thread only; the database is read elsewhere, by wallet.facts."""

    def __init__(self, size: int = LIMITS.wallet_cache) -> None:
        self._size = size
        self._by_address: OrderedDict[str, WalletFacts] = OrderedDict()
        self._addresses: dict[int, str] = {}
        self._hits = 0  # not counted yet
        self.generation = 0

    def find(self, address: str) -> WalletFacts | None:
        facts = self._by_address.get(address)
        if facts is None:
            _MISS.inc()
        else:
            self._hits += 1
            if self._hits == HITS_COUNTED:
                self._hits = 0
                _HIT.inc(HITS_COUNTED)
        return facts

    def remember(self, facts: WalletFacts | None, generation: int) -> None:
        """Unless a change was heard of since `generation`, when the facts were asked for."""
        if facts is None or generation != self.generation:
            return
        self._by_address[facts.address] = facts
        self._addresses[facts.id] = facts.address
        if len(self._by_address) > self._size:
            _, oldest = self._by_address.popitem(last=False)
            self._addresses.pop(oldest.id, None)

    def forget(self, wallet_id: int) -> None:
        self.generation += 1
        address = self._addresses.pop(wallet_id, None)
        if address is not None:
            self._by_address.pop(address, None)

    def forget_all(self) -> None:
        """After events may have been missed."""
        self.generation += 1
        self._by_address.clear()
        self._addresses.clear()


directory: Final = Directory()
