"""Exactly once: the same request sent again and again, at once, over HTTP and WebSocket, while web
and writer are killed and Redis is emptied. It is done once, and every answer says so.

`python -m tests.bank.exactly_once --attempts 100000`
"""

import argparse
import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import uvloop

from tests import stack
from tests.bank.game import book_the_custodians_own, check_books, wait_until_all_is_settled
from tests.bank.history import UNKNOWN
from tests.bank.house import DEMO_SECRET, SETTINGS, USDC, House, Player, Violation
from tests.bank.nemesis import Nemesis
from tests.bank.signer import Signer, custody_event
from tests.bank.wire import Answer, Http, Line, Lost, NotSent
from tests.servers import short_folder

FAULTS: Final = (("kill", "web"), ("kill", "writer"), ("flush", "valkey"))
LINES: Final = 8
CASES_AT_ONCE: Final = 6
WALLETS: Final = 24
SENT_TRIES: Final = 100
COPIES: Final = (2, 50)
# Refusals that stand after the nonce in the order of precedence: who is told one has no bet.
FINAL: Final = frozenset(
    {
        *("cell_off_grid", "cell_locked", "stake_not_allowed", "rate_moved", "limit_reached"),
        *("player_limit", "cell_taken", "insufficient_funds"),
    }
)
# What may be answered at any time, and says nothing about the request.
PASSING: Final = frozenset(
    {
        *("dependency_unavailable", "breaker_open", "price_stale", "overloaded", "rate_limited"),
        *("timestamp_expired", "timestamp_in_future", *UNKNOWN),
    }
)
Send = Callable[[], Coroutine[Any, Any, Answer]]


class Trial:
    """`answers` counts what came back; `calm` cases had no fault from their start to their end."""

    def __init__(self, house: House, players: list[Player], attempts: int, seed: int) -> None:
        self.house = house
        self.players = players
        self.left = self.attempts = attempts
        self.rng = random.Random(seed)
        self.answers: Counter[str] = Counter()
        self.cases: Counter[str] = Counter()
        self.done: dict[str, tuple[str, str]] = {}  # nonce or event -> (kind, id)
        self.faults = 0
        self.flushes = 0
        self._https: asyncio.Queue[Http] = asyncio.Queue()
        self._lines = [Line(house.port) for _ in range(LINES)]
        for _ in range(COPIES[1] * 2):
            self._https.put_nowait(Http(house.port))

    async def run(self) -> None:
        cases = [self._bet] * 6 + [self._withdrawal, self._session_key, self._event, self._deposit]
        while self.left > 0:
            copies = self.rng.randint(*COPIES)
            self.left -= copies
            await self.rng.choice(cases)(self.rng.choice(self.players), copies)

    async def close(self) -> None:
        while not self._https.empty():
            self._https.get_nowait().close()
        for line in self._lines:
            await line.close()

    # The cases.

    async def _bet(self, player: Player, copies: int) -> None:
        """A bet, and now and then others with its nonce."""
        cell_id, rate_bps = await self._cell(player)
        signer, now_s = player.signer, self.house.now_s()
        least = max(10_100, rate_bps * 3 // 4)
        body = signer.bet(cell_id, USDC, least, now_s)
        other = signer.bet(cell_id, 5 * USDC, least, now_s, nonce=body["nonce"])
        bodies = [body if self.rng.random() < 0.9 else other for _ in range(copies)]
        flushes, faults = self.flushes, self.faults
        answers = await self._together([self._sender("bets", sent) for sent in bodies])
        told = [(sent, answer) for sent, answer in zip(bodies, answers, strict=True) if answer.body]
        accepted = [(sent, answer.body) for sent, answer in told if answer.status == 202]
        reused = [(sent, answer.body["detail"]) for sent, answer in told if _reused(answer)]
        bets = [bet for _, bet in accepted] + [detail["bet"] for _, detail in reused]
        _must(len(accepted) <= 1, f"{len(accepted)} bets of one nonce: {accepted}")
        _must(len({bet["bet_id"] for bet in bets}) <= 1, f"different bets of one nonce: {bets}")
        for sent, detail in reused:
            same = sent["stake_micros"] == detail["bet"]["stake_micros"]
            _must(detail["same_request"] is same, f"{detail} of {sent}")
        if bets and self.flushes == flushes:
            stake_micros = bets[0]["stake_micros"]
            for sent, answer in told:
                refused = answer.code in FINAL and sent["stake_micros"] == stake_micros
                _must(not refused, f"refused and accepted: {answer}, {bets[0]}")
        if self.faults == faults and bets:
            self.cases["calm bets"] += 1
            rest = [answer for _, answer in told if not (answer.status == 202 or _reused(answer))]
            late = {answer.code for answer in rest} - PASSING - FINAL
            clear = not any(answer.status == 0 or answer.code in UNKNOWN for answer in answers)
            _must(not late, f"{accepted}, then {rest}")
            _must(len(accepted) == 1 or not clear, f"{len(accepted)} accepted, then {rest}")
        if bets:
            self.done[body["nonce"].replace("-", "")] = ("bet", bets[0]["bet_id"])
        self.cases["bets"] += 1

    async def _cell(self, player: Player) -> tuple[str, int]:
        while True:
            cells = await self.house.some_cells()
            free = [cell for cell in cells if cell[0] not in player.taken]
            if free:
                cell = self.rng.choice(free)
                player.taken.add(cell[0])
                return cell
            await asyncio.sleep(0.05)

    async def _withdrawal(self, player: Player, copies: int) -> None:
        body = player.signer.withdrawal(self.rng.randrange(1, 1_000), self.house.now_s())
        send = self._sender("withdrawals", body, player.token)
        await self._by_nonce("withdrawal", body["nonce"], [send] * copies)

    async def _session_key(self, player: Player, copies: int) -> None:
        now_s = self.house.now_s()
        key = Signer(self.rng, self.house.domain, self.house.chain_id).address
        # They end soon: a wallet has few live ones.
        body = player.signer.session_key(key, USDC, USDC, now_s + 2, now_s)
        send = self._sender("session-keys", body)
        await self._by_nonce("session_key", body["nonce"], [send] * copies)

    async def _by_nonce(self, kind: str, nonce: str, sends: list[Send]) -> None:
        name = {"withdrawal": "withdrawal_id", "session_key": "key_id"}[kind]
        answers = await self._together(sends)
        made = [answer.body[name] for answer in answers if answer.status in (201, 202)]
        details = [answer.body["detail"] for answer in answers if _reused(answer)]
        ids = {*made, *(detail[kind][name] for detail in details)}
        _must(len(made) <= 1 and len(ids) <= 1, f"{kind} {nonce}: {made}, {details}")
        _must(all(detail["same_request"] for detail in details), f"{kind} {nonce}: {details}")
        if ids:
            self.done[nonce.replace("-", "")] = (kind, str(ids.pop()))
        self.cases[kind] += 1

    async def _event(self, player: Player, copies: int) -> None:
        key = f"bank:{self.rng.getrandbits(64):x}"
        send = self._teller(player, key, key, self.rng.randrange(1, 1_000))
        answers = await self._together([send] * copies)
        outcomes = Counter(answer.body["outcome"] for answer in answers if answer.status == 200)
        _must(outcomes["applied"] <= 1, f"event {key}: {outcomes}")
        _must(set(outcomes) <= {"applied", "repeated"}, f"event {key}: {outcomes}")
        if outcomes:
            self.done[key] = ("event", "")
        self.cases["event"] += 1

    async def _deposit(self, player: Player, copies: int) -> None:
        """The demo's custodian has told of it: whoever tells of it again moves nothing."""
        wanted = {"amount_micros": self.rng.randrange(1, 1_000)}
        (asked,) = await self._together([self._sender("deposits", wanted, player.token)])
        if asked.status != 202 or asked.body["status"] != "completed":
            return
        deposit_id = asked.body["deposit_id"]
        sends = []
        for number in range(copies):
            key = f"local:deposit:{deposit_id}" if number % 2 else f"other:{deposit_id}:{number}"
            sends.append(self._teller(player, key, deposit_id, wanted["amount_micros"]))
        answers = await self._together(sends)
        outcomes = {answer.body["outcome"] for answer in answers if answer.status == 200}
        _must(outcomes <= {"repeated", "unmatched"}, f"deposit {deposit_id}: {outcomes}")
        self.cases["deposit"] += 1

    # How they are sent.

    def _sender(self, path: str, body: Any, token: str = "") -> Send:
        async def send() -> Answer:
            if path == "bets" and self.rng.random() < 0.5:
                return await self.rng.choice(self._lines).bet(body)
            return await self._ask(path, body, token)

        return send

    def _teller(self, player: Player, event_id: str, reference: str, micros: int) -> Send:
        async def send() -> Answer:
            body, headers = custody_event(
                DEMO_SECRET,
                self.house.now_s(),
                event_id=event_id,
                type="deposit.confirmed",
                reference=reference,
                address=player.address,
                amount_micros=micros,
            )
            return await self._ask("custody/events", body, "", **headers)

        return send

    async def _ask(self, path: str, body: Any, token: str, **headers: str) -> Answer:
        http = await self._https.get()
        try:
            return await http.ask("POST", path, body, token, **headers)
        finally:
            self._https.put_nowait(http)

    async def _together(self, sends: list[Send]) -> list[Answer]:
        return list(await asyncio.gather(*map(self._answered, sends)))

    async def _answered(self, send: Send) -> Answer:
        """Status 0: there was no answer."""
        if self.rng.random() < 0.3:  # some come late, after the first answer
            await asyncio.sleep(self.rng.uniform(0, 0.1))
        try:
            answer = await self._sent(send)
        except (NotSent, Lost) as error:
            self.answers[type(error).__name__] += 1
            return Answer(0, None)
        self.answers[answer.code or str(answer.status)] += 1
        _must(answer.status != 500, f"{answer}")
        return answer

    async def _sent(self, send: Send) -> Answer:
        """Its answer, once there is somebody to send it to."""
        for _ in range(SENT_TRIES):
            with contextlib.suppress(NotSent):
                return await send()
            await asyncio.sleep(0.1)
        return await send()


def _reused(answer: Answer) -> bool:
    return answer.code == "nonce_reused"


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


async def play(
    running: stack.Stack,
    attempts: int,
    seed: int,
    *,
    fault_s: float = 2.0,
    say: Callable[[str], None] = lambda line: None,
) -> Trial:
    """Raises Violation."""
    house = House(running, seed)
    players = await house.open(WALLETS, 1_000)
    trial = Trial(house, players, attempts, seed)
    nemesis = Nemesis(house, seed, pause_s=fault_s, stop_s=0)
    over = asyncio.Event()
    async with house.watching():
        breaking = asyncio.create_task(_break(trial, nemesis, over, fault_s, say))
        try:
            await asyncio.gather(*(trial.run() for _ in range(CASES_AT_ONCE)))
        finally:
            over.set()
            await breaking
            await trial.close()
    await asyncio.to_thread(_finish, trial)
    return trial


async def _break(
    trial: Trial,
    nemesis: Nemesis,
    over: asyncio.Event,
    fault_s: float,
    say: Callable[[str], None],
) -> None:
    """Each fault once something was done after the one before: a slow machine needs longer to come
    back, and refusals alone prove nothing."""
    while not over.is_set():
        done = len(trial.done)
        await asyncio.sleep(trial.rng.uniform(0.3, 1.7) * fault_s)
        while len(trial.done) == done and not over.is_set():
            await asyncio.sleep(0.05)
        fault = trial.rng.choice(FAULTS)
        trial.faults += 1
        trial.flushes += fault[0] == "flush"
        await nemesis.strike(*fault)
        say(f"{trial.attempts - max(trial.left, 0)} attempts, {trial.faults} faults")


_ROWS: Final = {
    "bet": "SELECT nonce, id FROM bets_bet",
    "withdrawal": "SELECT nonce, id FROM wallet_withdrawal",
    "session_key": "SELECT nonce, id FROM wallet_sessionkey",
    "event": "SELECT event_id, '' FROM wallet_custodyevent",
}


def _finish(trial: Trial) -> None:
    trial.house.running.wait_for("/health/readiness")
    wait_until_all_is_settled(trial.house)
    book_the_custodians_own(trial.house)
    connection = trial.house.database()
    stored: dict[tuple[str, str], list[str]] = {}
    for kind, question in _ROWS.items():
        for key, id in connection.execute(question):
            stored.setdefault((kind, key), []).append(str(id))
    connection.close()
    for key, (kind, id) in trial.done.items():
        found = stored.get((kind, key), [])
        _must(found == [id], f"{kind} {key}: told {id}, stored {found}")
    twice = {key: ids for key, ids in stored.items() if len(ids) > 1}
    _must(not twice, f"more than once: {twice}")
    wrong = check_books(trial.house.running)
    _must(not wrong, "\n".join(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bank.exactly_once", description=__doc__)
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    asked = parser.parse_args()
    words = f"--attempts {asked.attempts} --seed {asked.seed}"
    print(f"replay: python -m tests.bank.exactly_once {words}", flush=True)
    started = time.monotonic()
    with short_folder() as folder, stack.running(folder, **SETTINGS) as running:
        running.clock_rate(2)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            say = partial(print, flush=True)
            trial = runner.run(play(running, asked.attempts, asked.seed, fault_s=8.0, say=say))
    print(f"cases: {dict(trial.cases)}; faults: {trial.faults}, of which emptied {trial.flushes}")
    print(f"answers: {dict(trial.answers.most_common())}")
    print(f"each done once; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
