"""The bank test, in the form of Jepsen's: clients move money while parts of the platform die, and
at the end every client's word is held against the books.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import httpx

from tests.bank.audit import Books
from tests.bank.history import check
from tests.bank.house import House, Violation
from tests.bank.nemesis import Nemesis
from tests.bank.traders import Bank, Client
from tests.stack import ROOT, Stack

HEALED_S: Final = 90.0
SAY_EVERY_S: Final = 10.0


class Plan(NamedTuple):
    """`rate` bounds the operations a second (0: as many as go); faults come every `fault_s`;
    `columns` of the open ones are bet on, the nearest first."""

    wallets: int
    operations: int
    seed: int
    clients: int = 16
    rate: float = 0.0
    fault_s: float = 2.0
    stop_s: float = 3.0
    columns: int = 11
    usdc: int = 50


class Result(NamedTuple):
    bank: Bank
    faults: dict[str, int]
    book_reads: int
    took_s: float

    def lines(self) -> list[str]:
        bank, look = self.bank, self.bank.auditor
        deeds = bank.history.deeds.values()
        told = {word: sum(d.told == word for d in deeds) for word in ("ok", "failed", "unknown")}
        done = bank.operations - bank.left
        return [
            f"{done} operations in {self.took_s:.1f} s: {done / self.took_s:.0f}/s",
            f"deeds: {told}",
            f"answers: {dict(sorted(bank.history.answers.items()))}",
            f"looks over the API: {look.looks}, of which nothing changed meanwhile in"
            f" {look.counted} ({look.whole} at everything); at the database: {self.book_reads}",
            f"faults: {dict(sorted(self.faults.items()))}",
        ]


async def play(running: Stack, plan: Plan, say: Callable[[str], None] = print) -> Result:
    """Raises Violation."""
    house = House(running, plan.seed)
    players = await house.open(plan.wallets, plan.usdc)
    bank = Bank(house, players, plan.operations)
    bank.columns = plan.columns
    nemesis = Nemesis(house, plan.seed, pause_s=plan.fault_s, stop_s=plan.stop_s)
    books = Books(house, plan.seed)
    pause_s = plan.clients / plan.rate if plan.rate else 0.0
    clients = [
        Client(bank, random.Random(f"{plan.seed} {n}"), pause_s) for n in range(plan.clients)
    ]
    over = asyncio.Event()
    started = time.monotonic()
    async with house.watching():
        await house.some_cells()
        others = [
            asyncio.create_task(nemesis.run(over)),
            asyncio.create_task(books.run(over, 0.2)),
            asyncio.create_task(_tell(bank, nemesis, over, say)),
        ]
        try:
            await asyncio.gather(*(client.run() for client in clients))
        finally:
            over.set()
            took_s = time.monotonic() - started
            ended = await asyncio.gather(*others, return_exceptions=True)
            nemesis.heal()
    for error in (*bank.broken, *(end for end in ended if end)):
        raise Violation(error)
    await asyncio.to_thread(finish, bank)
    books.read()
    return Result(bank, dict(nemesis.done), books.reads, took_s)


async def _tell(
    bank: Bank, nemesis: Nemesis, over: asyncio.Event, say: Callable[[str], None]
) -> None:
    started, before = time.monotonic(), bank.left
    while not over.is_set():
        await asyncio.sleep(SAY_EVERY_S)
        now = time.monotonic() - started
        rate = (before - bank.left) / SAY_EVERY_S
        before = bank.left
        faults = sum(nemesis.done.values())
        say(f"{now:6.0f} s  {bank.operations - bank.left} done, {rate:.0f}/s, {faults} faults")


# Afterwards.


def finish(bank: Bank) -> None:
    """Everything ends, and the books are what they should be."""
    running = bank.house.running
    running.wait_for("/health/readiness", HEALED_S)
    wait_until_all_is_settled(bank.house)
    book_the_custodians_own(bank.house)
    wrong = check_books(running)
    connection = bank.house.database()
    try:
        wrong += check(connection, bank.history)
    finally:
        connection.close()
    if wrong:
        raise Violation("\n".join(wrong))


_UNFINISHED: Final = {
    "bets": "SELECT count(*) FROM bets_bet WHERE status IN ('accepted', 'confirmed')",
    "deposits": "SELECT count(*) FROM wallet_deposit WHERE status = 'pending'",
    "withdrawals": (
        "SELECT count(*) FROM wallet_withdrawal WHERE status IN ('held', 'approved', 'sent')"
    ),
}


def wait_until_all_is_settled(house: House, patience_s: float = HEALED_S) -> None:
    """No bet, deposit or withdrawal is under way any more. Raises Violation when none of those has
    ended for so long: there may be thousands."""
    fewest = sum(_unfinished(house).values())
    deadline = time.monotonic() + patience_s
    while left := _unfinished(house):
        if sum(left.values()) < fewest:
            fewest = sum(left.values())
            deadline = time.monotonic() + patience_s
        if time.monotonic() > deadline:
            log = house.running.log.read_text(errors="replace")[-3_000:]
            raise Violation(f"these never end: {left}\n{log}")
        time.sleep(0.1)


def _unfinished(house: House) -> dict[str, int]:
    connection = house.database()
    try:
        counts = {what: connection.execute(sql).fetchone()[0] for what, sql in _UNFINISHED.items()}
    finally:
        connection.close()
    return {what: count for what, count in counts.items() if count}


def book_the_custodians_own(house: House) -> None:
    """What came by a custodian's own events is in no books of the local one."""
    connection = house.database()
    try:
        connection.execute(
            "INSERT INTO wallet_localtransfer (key, address, amount_micros, created_at)"
            " SELECT event_id, address, amount_micros, created_at FROM wallet_custodyevent"
            " WHERE event_id LIKE 'bank:%' AND outcome = 'applied'"
        )
    finally:
        connection.close()


def check_books(running: Stack) -> list[str]:
    """What the platform's own check finds."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TAP_", "COV"))},
        "DATA_DIR": str(running.folder / "data"),
        "DOMAIN": running.domain,
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "verify_ledger", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return []
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return [f"verify_ledger: {done.stderr.decode()[-2_000:]}"]
    return [str(example) for example in found["examples"]]


def is_up(running: Stack) -> bool:
    try:
        return httpx.get(running.url + "/health/readiness", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
