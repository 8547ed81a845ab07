"""Facts of wallets for checking signed bets, read from the database many wallets at a time.

A process that has just started, or has missed events, knows no wallet: a thousand traders who
tap then cost a few reads, not a thousand.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from django.db import connection
from prometheus_client import Counter

from taptrading.errors import DependencyError
from taptrading.limits import LIMITS
from taptrading.threads import in_thread
from wallet.directory import Directory, KeyFacts, WalletFacts

READS: Final = Counter("wallet_facts_reads_total", "Reads of wallets into memory")
READ_AT_ONCE: Final = 500
WAITING_MAX: Final = LIMITS.entry_queue

_WALLETS: Final = (
    "SELECT id, address, frozen FROM wallet_wallet"
    " WHERE address IN (SELECT value FROM json_each(%s))"
)
_KEYS: Final = (
    "SELECT wallet_id, address, id, max_stake_micros, max_total_micros - used_micros, expires_at,"
    " revoked_at IS NOT NULL FROM wallet_sessionkey"
    " WHERE wallet_id IN (SELECT value FROM json_each(%s))"
)

Facts = dict[str, WalletFacts]


def read_facts(addresses: Sequence[str]) -> Facts:
    """Those of the addresses that have a wallet, with all its keys. Blocks."""
    with connection.cursor() as cursor:
        cursor.execute(_WALLETS, [msgspec.json.encode(addresses).decode()])
        wallets = cursor.fetchall()
        cursor.execute(_KEYS, [msgspec.json.encode([row[0] for row in wallets]).decode()])
        keys: dict[int, dict[str, KeyFacts]] = {}
        for (
            wallet_id,
            address,
            key_id,
            max_stake,
            left,
            expires_at_us,
            revoked,
        ) in cursor.fetchall():
            facts = KeyFacts(key_id, max_stake, left, expires_at_us, bool(revoked))
            keys.setdefault(wallet_id, {})[address] = facts
    return {
        address: WalletFacts(wallet_id, address, bool(frozen), keys.get(wallet_id, {}))
        for wallet_id, address, frozen in wallets
    }


class FactsReader:
    """One read is under way while those who ask meanwhile gather for the next one.

    On one event loop's thread; fills `directory`.
    """

    def __init__(
        self, directory: Directory, read: Callable[[Sequence[str]], Facts] = read_facts
    ) -> None:
        self._directory = directory
        self._read = read
        self._waiting: dict[str, asyncio.Future[WalletFacts | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read(self, address: str) -> WalletFacts | None:
        """The wallet's facts as they are stored now; None if there is no such wallet.

        Raises DependencyError when too many wait, or what reading raised.
        """
        future = self._waiting.get(address)
        if future is None:
            if len(self._waiting) >= WAITING_MAX:
                raise DependencyError("too many wallets wait to be read")
            future = self._waiting[address] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_waiting(), name="wallet-facts")
        # Others may wait for the same wallet: whoever leaves does not cancel it for them.
        return await asyncio.shield(future)

    async def _read_waiting(self) -> None:
        try:
            while self._waiting:
                addresses = list(self._waiting)[:READ_AT_ONCE]
                asked = {address: self._waiting.pop(address) for address in addresses}
                await self._answer(asked)
        finally:
            self._reading = None

    async def _answer(self, asked: "dict[str, asyncio.Future[WalletFacts | None]]") -> None:
        READS.inc()
        generation = self._directory.generation
        try:
            found = await in_thread(self._read, list(asked))
        except Exception as error:  # whatever it is, those who wait must hear it
            for future in asked.values():
                if not future.done():
                    future.set_exception(error)
            return
        for address, future in asked.items():
            self._directory.remember(found.get(address), generation)
            if not future.done():
                future.set_result(found.get(address))
