"""Double spend: more bets at once than the money of one wallet covers, over HTTP and WebSocket,
through two web processes. Exactly as many are accepted as it covers.

`python -m tests.bank.double_spend --bets 1000 --rounds 10`
"""

import argparse
import asyncio
import itertools
import random
import secrets
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

from tests import stack
from tests.bank.audit import Auditor
from tests.bank.game import check_books
from tests.bank.house import SETTINGS, USDC, House, Player, Violation, column_of
from tests.bank.signer import Signer
from tests.bank.wire import Answer, Http, Line
from tests.servers import short_folder

CONNECTIONS: Final = 64
LINES: Final = 16
STAKE: Final = 5 * USDC
# There are more bets than cells, and the price moves on.
ELSE: Final = ("cell_taken", "rate_moved", "cell_locked")
STALE: Final = "price_stale"  # on a machine that has too much to do
COVERED: Final = 30  # fewer than there are cells to bet on
RATES: Final = (12_000, 90_000)


class Rush:
    """Everything at once, over many connections."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.rng = random.Random(seed)
        self.told: Counter[str] = Counter()
        self._auditor = Auditor(self.rng)
        self._lines = [Line(house.port) for _ in range(LINES)]
        self._turn = itertools.cycle(self._lines)
        self._https: asyncio.Queue[Http] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            self._https.put_nowait(Http(house.port))

    async def close(self) -> None:
        while not self._https.empty():
            self._https.get_nowait().close()
        for line in self._lines:
            await line.close()

    async def player(self, usdc: int) -> Player:
        (made,) = await self.house.open(1, usdc)
        return made

    # What is tried.

    async def spend(self, bets: int, covered: int) -> None:
        """So many bets of a wallet that has the money for `covered` of them, and a bit."""
        player = await self.player(covered * STAKE // USDC + 3)
        answers = await self._together(await self._bets(player, bets))
        await self._judge(player, answers, covered, "insufficient_funds")

    async def spend_by_key(self, bets: int, covered: int) -> None:
        """The wallet has enough; the key that signs may stake `covered` of them in all."""
        player = await self.player(2 * bets * STAKE // USDC)
        key, now_s = Signer(self.rng, self.house.domain, self.house.chain_id), self.house.now_s()
        limit = covered * STAKE + STAKE - 1
        wanted = player.signer.session_key(key.address, STAKE, limit, now_s + 600, now_s)
        answer = await self._ask("session-keys", wanted)
        assert answer.status == 201, answer
        answers = await self._together(await self._bets(player, bets, key))
        await self._judge(player, answers, covered, "session_key_invalid")
        page = (await self._get(player, "session-keys"))["results"]
        open_micros = (await self._get(player, "wallet"))["open_stake_micros"]
        _must(open_micros <= page[0]["used_micros"] <= limit, f"{page[0]}: {open_micros} is open")

    async def spend_and_withdraw(self, bets: int, covered: int) -> None:
        """The whole balance is withdrawn, three times, while it is bet: one or the other."""
        player = await self.player(covered * STAKE // USDC)
        now_s = self.house.now_s()
        everything = [player.signer.withdrawal(covered * STAKE, now_s) for _ in range(3)]
        racing = await self._bets(player, bets)
        at = self.rng.randrange(len(racing))
        racing[at:at] = [self._ask("withdrawals", body, player.token) for body in everything]
        answers = await self._together(racing)
        withdrawn = sum(a.status == 202 and "withdrawal_id" in a.body for a in answers)
        accepted = sum(a.status == 202 for a in answers) - withdrawn
        self.told[f"withdrawn {withdrawn}"] += 1
        _must(withdrawn <= 1, f"withdrawn {withdrawn} times")
        if withdrawn:
            _must(accepted == 0, f"withdrawn, and {accepted} bets")
        else:
            rejected = await self._rejected(player)
            _must(covered <= accepted <= covered + rejected, f"{accepted} of {covered} bets")

    # How.

    async def _bets(
        self, player: Player, count: int, key: Signer | None = None
    ) -> list[Coroutine[Any, Any, Answer]]:
        """Signed bets on cells of their own, as far as there are as many, half of them for
        sockets."""
        cells = await self.house.some_cells()
        first, *_, last = sorted({column_of(cell_id) for cell_id, _ in cells})
        lasting = [
            cell_id
            for cell_id, rate in cells
            if first + 10 <= column_of(cell_id) < last and RATES[0] <= rate <= RATES[1]
        ]
        self.rng.shuffle(lasting)
        now_s, signer = self.house.now_s(), key or player.signer
        bodies = [
            signer.bet(cell_id, STAKE, 10_100, now_s, wallet=player.address)
            for cell_id in itertools.islice(itertools.cycle(lasting), count)
        ]
        sockets = itertools.cycle((True, False))
        return [
            next(self._turn).bet(body) if next(sockets) else self._ask("bets", body)
            for body in bodies
        ]

    async def _judge(
        self, player: Player, answers: list[Answer], covered: int, otherwise: str
    ) -> None:
        """Exactly as many as are covered; one more for each that its pricing gave back."""
        accepted = sum(answer.status == 202 for answer in answers)
        rejected = await self._rejected(player)
        codes = {answer.code for answer in answers if answer.status != 202}
        _must(codes <= {otherwise, STALE, *ELSE}, f"{codes}")
        stale = sum(answer.code == STALE for answer in answers)
        _must(accepted <= covered + rejected, f"{accepted} accepted of {covered}")
        _must(accepted + stale >= covered, f"{accepted} accepted of {covered}, {stale} stale")
        _must(otherwise in codes or stale > 0, f"{codes}")

    async def _rejected(self, player: Player) -> int:
        """Bets that their pricing tick refused, once all are priced."""
        while (await self._get(player, "bets?status=accepted"))["results"]:
            await asyncio.sleep(0.02)
        http = Http(self.house.port)
        await self._auditor.history(http, player)
        http.close()
        return len((await self._get(player, "bets?status=rejected&limit=200"))["results"])

    async def _get(self, player: Player, path: str) -> Any:
        http = await self._https.get()
        answer = await http.ask("GET", path, token=player.token)
        self._https.put_nowait(http)
        assert answer.status == 200, answer
        return answer.body

    async def _ask(self, path: str, body: Any, token: str = "") -> Answer:
        http = await self._https.get()
        try:
            return await http.ask("POST", path, body, token)
        finally:
            self._https.put_nowait(http)

    async def _together(self, racing: list[Coroutine[Any, Any, Answer]]) -> list[Answer]:
        answers = list(await asyncio.gather(*racing))
        self.told.update(answer.code or str(answer.status) for answer in answers)
        return answers


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


async def rush(running: stack.Stack, seed: int, bets: int, rounds: int) -> Counter[str]:
    """Raises Violation."""
    house = House(running, seed)
    rushing = Rush(house, seed)
    async with house.watching():
        await house.some_cells()
        for _ in range(rounds):
            await rushing.spend(bets, COVERED)
            await rushing.spend_by_key(bets, COVERED - 5)
            await rushing.spend_and_withdraw(bets // 2, 10)
    await rushing.close()
    wrong = await asyncio.to_thread(check_books, running)
    _must(not wrong, "\n".join(wrong))
    return rushing.told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bank.double_spend", description=__doc__)
    parser.add_argument("--bets", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    asked = parser.parse_args()
    words = f"--bets {asked.bets} --rounds {asked.rounds} --seed {asked.seed}"
    print(f"replay: python -m tests.bank.double_spend {words}", flush=True)
    started = time.monotonic()
    with short_folder() as folder, stack.running(folder, WEB_WORKERS="2", **SETTINGS) as running:
        running.clock_rate(2)
        told = asyncio.run(rush(running, asked.seed, asked.bets, asked.rounds))
    print(f"answers: {dict(told.most_common())}")
    print(f"nothing spent twice; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
