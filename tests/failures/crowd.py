"""Traders who bet all the time while a test breaks things, and remember every answer.

They run in a thread of their own, so that a test reads top to bottom: break, look, heal, look. At
the end `reckon` holds all they were told against the books.
"""

import asyncio
import contextlib
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import httpx

from tests.bank.game import check_books, wait_until_all_is_settled
from tests.bank.history import History, check
from tests.bank.house import USDC, House, Player, Violation
from tests.bank.wire import Answer, Http, Line, Lost, NotSent
from tests.stack import Stack

PATIENCE_S: Final = 45.0
LOOK_S: Final = 0.01
SETTLING_RATE: Final = 20.0


class Word(NamedTuple):
    """One bet and what was said of it: `code` is the error's, `accepted`, or `lost` or `not_sent`
    for a bet that nobody answered. `at` is when."""

    code: str
    body: dict[str, Any]
    answer: Answer | None
    at: float
    took_s: float


class Crowd:
    """`traders` at once, every second one over a WebSocket, each with a pause of `pause_s`. Of the
    crowd `before`, on an earlier run in the same folder, they remember what it was told."""

    def __init__(
        self,
        running: Stack,
        *,
        before: "Crowd | None" = None,
        traders: int = 8,
        wallets: int = 16,
        pause_s: float = 0.1,
    ) -> None:
        self.running = running
        self.seed = secrets.randbelow(1 << 31)
        print(f"crowd: seed {self.seed}")
        self.house = House(running, self.seed)
        self.history: History = before.history if before else History()
        self.words: list[Word] = []
        self.broken: list[BaseException] = []
        self._traders = traders
        self._wallets = wallets
        self._pause_s = pause_s
        self._open = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crowd")
        self.players: list[Player] = []

    @contextlib.contextmanager
    def betting(self) -> Iterator["Crowd"]:
        """They bet until the end of the block; what they were told is checked after it."""
        self._thread.start()
        try:
            self.until(lambda: self._open.is_set() and self.said("accepted"), "nobody can bet")
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Nobody begins another bet; those under way are waited for."""
        self._over.set()
        self._thread.join()

    def said(self, *codes: str, since: int = 0) -> list[Word]:
        """The answers with one of these codes, from the place `since` on."""
        return [word for word in self.words[since:] if word.code in codes]

    def counts(self, since: int = 0) -> Counter[str]:
        return Counter(word.code for word in self.words[since:])

    def hears(self, code: str, *, since: int | None = None, times: int = 1) -> Word:
        """Wait until so many bets, from now on or from `since`, are answered like this."""
        first = len(self.words) if since is None else since
        self.until(
            lambda: len(self.said(code, since=first)) >= times,
            lambda: f"no {code}, but {self.counts(first)}",
        )
        return self.said(code, since=first)[-1]

    def until(
        self,
        condition: Callable[[], Any],
        what: str | Callable[[], str],
        timeout_s: float = PATIENCE_S,
    ) -> None:
        """Wait for the condition, while the crowd is at it."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.broken:
                raise self.broken[0]
            if time.monotonic() > deadline:
                tail = self.running.log.read_text(errors="replace")[-3_000:]
                raise AssertionError(f"{what if isinstance(what, str) else what()}\n{tail}")
            time.sleep(LOOK_S)

    def ask(self, address: str, path: str) -> httpx.Response:
        """The platform, as the owner of this wallet."""
        (token,) = (player.token for player in self.players if player.address == address)
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.running.url}/api/v1/{path}", headers=headers, timeout=10)

    def count(self, question: str) -> int:
        """What the ledger's database answers."""
        connection = self.house.database()
        try:
            return int(connection.execute(question).fetchone()[0])
        finally:
            connection.close()

    def reckon(self, after: Stack | None = None) -> None:
        """All is settled, at once or by the run `after` this one; the books are right, and every
        answer was true. Raises Violation."""
        assert self._over.is_set()
        if self.broken:
            raise self.broken[0]
        running = after or self.running
        house = House(running, self.seed)
        running.clock_rate(SETTLING_RATE)
        wait_until_all_is_settled(house)
        wrong = check_books(running)
        connection = house.database()
        try:
            wrong += check(connection, self.history)
        finally:
            connection.close()
        if wrong:
            raise Violation("\n".join(wrong))

    # In the thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.broken.append(error)

    async def _main(self) -> None:
        self.players = await self.house.open(self._wallets, 1_000)
        async with self.house.watching():
            await self.house.some_cells()
            self._open.set()
            await asyncio.gather(*(self._trade(number) for number in range(self._traders)))

    async def _trade(self, number: int) -> None:
        rng = random.Random(f"{self.seed} {number}")
        http, line = Http(self.house.port), Line(self.house.port)
        try:
            while not self._over.is_set():
                player, body = self._some_bet(rng)
                place = line.bet if number % 2 else _by(http)
                await self._told(player, body, place)
                await asyncio.sleep(rng.uniform(0, 2 * self._pause_s))
        finally:
            http.close()
            await line.close()

    def _some_bet(self, rng: random.Random) -> tuple[Player, dict[str, Any]]:
        """On a cell that the player has not bet on, if there is one."""
        player = rng.choice(self.players)
        free = [cell for cell in self.house.cells if cell[0] not in player.taken]
        cell_id, rate_bps = rng.choice(free or self.house.cells)
        player.taken.add(cell_id)
        body = player.signer.bet(cell_id, USDC, max(10_100, rate_bps // 2), self.house.now_s())
        return player, body

    async def _told(
        self, player: Player, body: dict[str, Any], place: Callable[[dict[str, Any]], Any]
    ) -> None:
        started = time.monotonic()
        answer: Answer | None = None
        try:
            answer = await place(body)
            code = answer.code or "accepted"
        except (NotSent, Lost) as error:
            code = "not_sent" if isinstance(error, NotSent) else "lost"
        self.note(player, body, answer, sent=code != "not_sent")
        now = time.monotonic()
        self.words.append(Word(code, body, answer, now, now - started))

    def note(
        self, player: Player, body: dict[str, Any], answer: Answer | None, *, sent: bool = True
    ) -> None:
        """A bet, for the reckoning, with its answer, if there was one."""
        if answer is not None:
            told = self.history.told("bet", answer)
        else:
            told = "unknown" if sent else "failed"
        key = body["nonce"].replace("-", "")
        self.history.note("bet", player.address, key, USDC, told, answer)


def _by(http: Http) -> Callable[[dict[str, Any]], Any]:
    return lambda body: http.ask("POST", "bets", body)
