"""Clients that bet, deposit, withdraw and look, at random, and note what they are told."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.bank.audit import Auditor, Unreadable
from tests.bank.history import UNKNOWN, History
from tests.bank.house import DEMO_SECRET, USDC, House, Player, Violation
from tests.bank.signer import custody_event
from tests.bank.wire import Answer, Http, Line, Lost, NotSent

# How often each of a client's deeds comes; one counts as many operations as it makes requests.
WEIGHTS: Final = {
    "bet": 40,
    "tap": 16,  # a bet over the WebSocket
    "again": 3,  # a bet that was sent before
    "look_up": 6,
    "deposit": 2,
    "event": 1,
    "withdraw": 3,
    "cancel": 1,
    "balance": 5,
    "everything": 1,
    "history": 3,
}
STAKES: Final = (1, 1, 1, 1, 5, 10)
REMEMBERED: Final = 200
# Refusals that leave the nonce as it was: the same request may be sent again.
INVITING: Final = (
    *("dependency_unavailable", "breaker_open", "price_stale", "overloaded", "rate_limited"),
    *UNKNOWN,
)


class Bank:
    """What all clients share. `operations` counts requests down."""

    def __init__(self, house: House, players: list[Player], operations: int) -> None:
        self.house = house
        self.players = players
        self.left = self.operations = operations
        self.history = History()
        self.auditor = Auditor(house.rng)
        self.sums = itertools.count(1)  # amounts that never come twice
        self.columns = 11  # how many of the open ones are bet on, the nearest first
        self.placed: deque[tuple[Player, dict[str, Any], Answer | None]] = deque(maxlen=REMEMBERED)
        self.held: deque[tuple[Player, str, int]] = deque(maxlen=REMEMBERED)
        self.broken: list[str] = []

    def over(self) -> bool:
        return self.left <= 0 or bool(self.broken)


class Client:
    def __init__(self, bank: Bank, rng: random.Random, pause_s: float = 0.0) -> None:
        self._bank = bank
        self._house = bank.house
        self._rng = rng
        self._pause_s = pause_s
        self._http = Http(bank.house.port)
        self._line = Line(bank.house.port)
        self._deeds: dict[str, Callable[[Player], Coroutine[Any, Any, int]]] = {
            name: getattr(self, f"_{name}") for name in WEIGHTS
        }

    async def run(self) -> None:
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        try:
            while not self._bank.over():
                (name,) = self._rng.choices(names, weights)
                requests = await self._do(name)
                self._bank.left -= requests  # not before: others count meanwhile
                if self._pause_s:
                    await asyncio.sleep(self._rng.uniform(0, 2 * self._pause_s))
        finally:
            self._http.close()
            await self._line.close()

    async def _do(self, name: str) -> int:
        """The number of requests that it took."""
        try:
            return await self._deeds[name](self._rng.choice(self._bank.players))
        except (NotSent, Lost, Unreadable) as error:
            self._bank.history.answers[f"{name} {type(error).__name__}"] += 1
            if isinstance(error, NotSent):
                await asyncio.sleep(0.05)
            return 1
        except Violation as error:
            self._bank.broken.append(f"{name}: {error}")
            return 1

    # Bets.

    async def _bet(self, player: Player) -> int:
        return await self._place(player, "bet", self._post_bet)

    async def _tap(self, player: Player) -> int:
        return await self._place(player, "tap", lambda _, body: self._line.bet(body))

    async def _post_bet(self, player: Player, body: dict[str, Any]) -> Answer:
        return await self._http.ask("POST", "bets", body)

    async def _place(
        self, player: Player, name: str, send: Callable[[Player, Any], Coroutine[Any, Any, Answer]]
    ) -> int:
        cell_id, rate_bps = await self._cell(player)
        stake_micros = self._rng.choice(STAKES) * USDC
        min_rate_bps = max(10_100, rate_bps * 3 // 4)
        body = player.signer.bet(cell_id, stake_micros, min_rate_bps, self._house.now_s())
        answer = await self._noted(
            "bet", player, body["nonce"].replace("-", ""), stake_micros, name, send(player, body)
        )
        self._bank.placed.append((player, body, answer))
        return 1

    async def _cell(self, player: Player) -> tuple[str, int]:
        """Mostly one that the player has not bet on."""
        cells = await self._house.some_cells()
        near = self._house.now_s() + 5 * (2 + self._bank.columns)
        for _ in range(8):
            cell = self._rng.choice(cells)
            if cell[0] not in player.taken and int(cell[0][:10]) < near:
                break
        player.taken.add(cell[0])
        if len(player.taken) > 2_000:
            player.taken = {taken for taken in player.taken if int(taken[:10]) > near - 100}
        return cell

    async def _again(self, player: Player) -> int:
        """The same signed bet once more: it becomes no second one."""
        if not self._bank.placed:
            return 0
        _, body, before = self._rng.choice(self._bank.placed)
        history, key = self._bank.history, body["nonce"].replace("-", "")
        try:
            answer = await self._http.ask("POST", "bets", body)
        except Lost:
            history.became("bet", key, "unknown")
            raise
        history.answers[f"again {answer.code or answer.status}"] += 1
        bet = answer.body if answer.status == 202 else None
        if answer.code == "nonce_reused":
            bet = answer.body["detail"]["bet"]
            _must(answer.body["detail"]["same_request"], f"{body} and then {answer}")
        if bet is not None:
            if before is not None and before.code and before.code not in INVITING:
                history.answers["again, after a refusal that Redis has forgotten"] += 1
            history.became("bet", key, "ok", bet["bet_id"])
        if before is not None and before.status == 202:
            _must(answer.status != 202, f"a second bet of {body}: {answer}")
            same = bet is None or bet["bet_id"] == before.body["bet_id"]
            _must(same, f"{before} and then {answer}")
        elif answer.code in UNKNOWN:
            history.became("bet", key, "unknown")
        return 1

    async def _look_up(self, player: Player) -> int:
        if not self._bank.placed:
            return 0
        player, body, before = self._rng.choice(self._bank.placed)
        answer = await self._http.ask("GET", f"bets/by-nonce/{body['nonce']}", token=player.token)
        if before is not None and before.status == 202 and answer.status < 500:
            found = answer.status == 200 and answer.body["bet_id"] == before.body["bet_id"]
            _must(found, f"{before} but by-nonce {answer}")
        return 1

    # Money in and out.

    async def _deposit(self, player: Player) -> int:
        micros = 10 * USDC + next(self._bank.sums)
        asking = self._http.ask("POST", "deposits", {"amount_micros": micros}, player.token)
        await self._noted("deposit", player, str(micros), micros, "deposit", asking)
        return 1

    async def _event(self, player: Player) -> int:
        """The custodian tells of a transfer that nobody announced, twice."""
        micros = USDC + next(self._bank.sums)
        key = f"bank:{micros}"
        body, headers = custody_event(
            DEMO_SECRET,
            self._house.now_s(),
            event_id=key,
            type="deposit.confirmed",
            reference=key,
            address=player.address,
            amount_micros=micros,
        )

        async def tell() -> Answer:
            return await self._http.ask("POST", "custody/events", body, "", **headers)

        history = self._bank.history
        first = await self._noted("event", player, key, micros, "event", tell())
        try:
            again = await tell()
        except Lost:
            history.became("event", key, "unknown")
            raise
        if first is not None and first.status == 200 == again.status:
            _must(again.body["outcome"] == "repeated", f"{first} and then {again}")
        told = history.told("event again", again)
        if told != "failed":
            history.became("event", key, told)
        return 2

    async def _withdraw(self, player: Player) -> int:
        micros = self._rng.randrange(1, 3) * USDC + next(self._bank.sums)
        body = player.signer.withdrawal(micros, self._house.now_s())
        asking = self._http.ask("POST", "withdrawals", body, player.token)
        key = body["nonce"].replace("-", "")
        answer = await self._noted("withdrawal", player, key, micros, "withdraw", asking)
        if answer is not None and answer.status == 202:
            self._bank.held.append((player, answer.body["withdrawal_id"], micros))
        return 1

    async def _cancel(self, player: Player) -> int:
        if not self._bank.held:
            return 0
        player, key, micros = self._bank.held.pop()
        asking = self._http.ask("DELETE", f"withdrawals/{key}", token=player.token)
        await self._noted("cancellation", player, key, micros, "cancel", asking)
        return 1

    async def _noted(
        self,
        kind: str,
        player: Player,
        key: str,
        micros: int,
        name: str,
        asking: Coroutine[Any, Any, Answer],
    ) -> Answer | None:
        """The answer, if there is one; what it means is noted."""
        history = self._bank.history
        try:
            answer = await asking
        except NotSent:
            history.note(kind, player.address, key, micros, "failed", None)
            raise
        except Lost:
            history.note(kind, player.address, key, micros, "unknown", None)
            history.answers[f"{name} Lost"] += 1
            return None
        history.note(kind, player.address, key, micros, history.told(name, answer), answer)
        return answer

    # Looks.

    async def _balance(self, player: Player) -> int:
        return await self._bank.auditor.balance(self._http, player)

    async def _everything(self, player: Player) -> int:
        return await self._bank.auditor.everything(self._http, player)

    async def _history(self, player: Player) -> int:
        return await self._bank.auditor.history(self._http, player)


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)
