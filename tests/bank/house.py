"""A running platform as its traders see it: their wallets, its time and what it offers."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pysqlite3 as sqlite3

from taptrading.clock import SharedClock
from tests.bank.signer import Signer
from tests.bank.wire import Answer, Http, Lost, NotSent
from tests.stack import Stack

USDC: Final = 1_000_000
DEMO_SECRET: Final = "demo-only-secret-that-production-refuses"
GRID_EVERY_S: Final = 0.2
OPENERS: Final = 16
# Limits of how often somebody may do something are not what is tried here.
SETTINGS: Final = {
    "TAP_BET_RATE_PER_S": "100000",
    "TAP_BET_BURST": "100000",
    "TAP_ADDRESS_RATE_PER_S": "1000000",
    "TAP_ADDRESS_BURST": "1000000",
    "TAP_SIGNIN_PER_MINUTE": "1000000",
    "LOG_LEVEL": "WARNING",
}


class Violation(AssertionError):
    """What must never happen has happened."""


class Player:
    """One wallet. `taken` are the cells that it has bet on, or tried to."""

    def __init__(self, signer: Signer, token: str) -> None:
        self.signer = signer
        self.token = token
        self.taken: set[str] = set()
        self.entries: list[tuple[int, int, int]] = []  # (id, amount, balance after) as once seen
        self.auditing = asyncio.Lock()

    @property
    def address(self) -> str:
        return self.signer.address


class House:
    """`cells` are on offer at the moment: (cell_id, rate_bps)."""

    def __init__(self, running: Stack, seed: int) -> None:
        self.running = running
        self.port = running.port
        self.rng = random.Random(seed)
        self.cells: list[tuple[str, int]] = []
        self.chain_id = 0
        self.domain = ""
        self._clock = SharedClock(running.folder / "clock")

    @property
    def database_file(self) -> Path:
        return self.running.folder / "data" / "taptrading.sqlite3"

    @property
    def prices_file(self) -> Path:
        return self.running.folder / "data" / "prices.sqlite3"

    def now_s(self) -> int:
        return self._clock.now_us() // 1_000_000

    def database(self) -> Any:
        return sqlite3.connect(self.database_file, timeout=30, isolation_level=None)

    async def open(self, wallets: int, usdc: int) -> list[Player]:
        """Sign in as many new wallets, and deposit."""
        http = Http(self.port)
        config = (await http.ask("GET", "config")).body
        http.close()
        self.chain_id, self.domain = config["chain_id"], config["domain"]
        signers = [Signer(self.rng, self.domain, self.chain_id) for _ in range(wallets)]
        players: list[Player] = []
        waiting = iter(signers)
        openers = (self._open_each(waiting, usdc, players) for _ in range(OPENERS))
        await asyncio.gather(*openers)
        return sorted(players, key=lambda player: player.address)

    async def _open_each(self, signers: Iterator[Signer], usdc: int, players: list[Player]) -> None:
        http = Http(self.port)
        for signer in signers:
            player = Player(signer, await self._sign_in(http, signer))
            if usdc:
                wanted = {"amount_micros": usdc * USDC}
                answer = await http.ask("POST", "deposits", wanted, player.token)
                assert answer.status == 202, answer
            players.append(player)
        http.close()

    async def _sign_in(self, http: Http, signer: Signer) -> str:
        nonce = (await http.ask("POST", "auth/nonce", {})).body["nonce"]
        answer = await http.ask("POST", "auth/login", signer.sign_in(nonce, self.now_s()))
        assert answer.status == 200, answer
        token: str = answer.body["token"]
        return token

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep `cells` current."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        http = Http(self.port)
        while True:
            with contextlib.suppress(NotSent, Lost):
                answer = await http.ask("GET", "grid")
                if answer.status == 200:
                    self.cells = [
                        (cell["cell_id"], cell["rate_bps"])
                        for cell in answer.body["cells"]
                        if cell["room_micros"] >= 5 * USDC
                    ] or self.cells  # while nothing is on offer, what was is asked for
            await asyncio.sleep(GRID_EVERY_S)

    async def some_cells(self) -> list[tuple[str, int]]:
        """What is on offer, as soon as anything is."""
        while not self.cells:
            await asyncio.sleep(0.02)
        return self.cells


def column_of(cell_id: str) -> int:
    return int(cell_id.split("_")[0])


async def asked(
    http: Http, method: str, path: str, body: Any = None, token: str = "", tries: int = 50
) -> Answer:
    """The answer to a question that may be asked again, after the platform came back."""
    for _ in range(tries):
        with contextlib.suppress(NotSent, Lost):
            answer = await http.ask(method, path, body, token)
            if answer.status < 500:
                return answer
        await asyncio.sleep(0.1)
    raise Violation(f"{method} {path} is not answered any more")
