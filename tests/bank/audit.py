"""What must hold whenever somebody looks, also while everything breaks.

Readers of the database look at one snapshot. Readers of the API make several requests, between
which the wallet may change: such a look counts only if what they read before and after is equal.
"""

import asyncio
import random
from typing import Any, Final

from tests.bank.house import House, Player, Violation
from tests.bank.wire import Answer, Http

OPEN: Final = ("accepted", "confirmed")
HELD: Final = ("held", "approved", "sent")
PAGE: Final = 200


class Books:
    """Reads of the database file, each in one read transaction."""

    def __init__(self, house: House, seed: int) -> None:
        self._house = house
        self._rng = random.Random(seed)
        self.reads = 0

    async def run(self, over: asyncio.Event, every_s: float) -> None:
        while not over.is_set():
            await asyncio.to_thread(self.read)
            await asyncio.sleep(every_s)

    def read(self) -> None:
        connection = self._house.database()
        try:
            connection.execute("BEGIN")
            self._look(connection)
            connection.execute("COMMIT")
        finally:
            connection.close()
        self.reads += 1

    def _look(self, connection: Any) -> None:
        wallets = connection.execute(
            "SELECT id, kind, balance_micros, held_micros, open_stake_micros FROM wallet_wallet"
        ).fetchall()
        _must(sum(row[2] for row in wallets) == 0, "the wallets do not sum to zero")
        for row in wallets:
            negative = min(row[3], row[4], 0 if row[1] == "custody" else row[2]) < 0
            _must(not negative, f"below zero: {row}")
        wallet_id, kind, balance, held, open_stake = self._rng.choice(wallets)
        if kind != "player":  # millions of entries: those are looked at in the end
            return
        credits, debits = (
            connection.execute(
                f"SELECT coalesce(sum(amount_micros), 0) FROM wallet_ledgerentry"
                f" WHERE {side}_wallet_id = ?",
                [wallet_id],
            ).fetchone()[0]
            for side in ("credit", "debit")
        )
        _must(credits - debits == balance, f"{wallet_id}: {credits} - {debits} <> {balance}")
        for micros, table, column, states in (
            (open_stake, "bets_bet", "stake_micros", OPEN),
            (held, "wallet_withdrawal", "amount_micros", HELD),
        ):
            marks = ", ".join("?" * len(states))
            (found,) = connection.execute(
                f"SELECT coalesce(sum({column}), 0) FROM {table}"
                f" WHERE wallet_id = ? AND status IN ({marks})",
                [wallet_id, *states],
            ).fetchone()
            _must(found == micros, f"{wallet_id}: {table} has {found}, the wallet {micros}")


class Auditor:
    """Looks at wallets over the API. `counted` of its `looks` found nothing changed meanwhile."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.looks = 0
        self.counted = 0
        self.whole = 0

    async def balance(self, http: Http, player: Player) -> int:
        """The balance is what the newest entry left. Returns the number of requests."""
        self.looks += 1
        before = await _get(http, player, "ledger?limit=1")
        wallet = await _get(http, player, "wallet")
        after = await _get(http, player, "ledger?limit=1")
        if before == after:
            self._compare(player, wallet, before["results"])
        return 3

    async def everything(self, http: Http, player: Player) -> int:
        """Balance, open stake and held amount are those of entries, bets and withdrawals."""
        self.looks += 1
        before = await self._state(http, player)
        wallet = await _get(http, player, "wallet")
        after = await self._state(http, player)
        if before == after:
            entries, stakes, held = before
            self._compare(player, wallet, entries)
            self.whole += 1
            open_micros, held_micros = sum(stakes.values()), sum(held.values())
            _must(wallet["open_stake_micros"] == open_micros, f"{wallet} but {stakes} are open")
            _must(wallet["held_micros"] == held_micros, f"{wallet} but {held} is held")
        return 9

    def _compare(self, player: Player, wallet: Any, entries: list[Any]) -> None:
        self.counted += 1
        left = entries[0]["balance_after_micros"] if entries else 0
        _must(wallet["balance_micros"] == left, f"{player.address}: {wallet} after {entries}")

    async def _state(
        self, http: Http, player: Player
    ) -> tuple[list[Any], dict[str, int], dict[str, int]]:
        """Newest entry, open bets, open withdrawals. Bets and withdrawals end once for all, and a
        new one makes an entry: where two states are equal, nothing changed in between."""
        entries = (await _get(http, player, "ledger?limit=1"))["results"]
        stakes: dict[str, int] = {}
        for status in OPEN:
            path: str | None = f"bets?limit={PAGE}&status={status}"
            while path:
                page = await _get(http, player, path)
                stakes |= {bet["bet_id"]: bet["stake_micros"] for bet in page["results"]}
                path = _next(page)
        page = await _get(http, player, f"withdrawals?limit={PAGE}")
        held = {
            row["withdrawal_id"]: row["amount_micros"]
            for row in page["results"]
            if row["status"] in HELD
        }
        return entries, stakes, held

    async def history(self, http: Http, player: Player) -> int:
        """The wallet's own ledger: each entry goes on where the one before it ended, and one that
        was seen is there for ever."""
        async with player.auditing:
            requests = await self._catch_up(http, player)
            if len(player.entries) > 20:
                await self._look_back(http, player)
                requests += 1
        return requests

    async def _catch_up(self, http: Http, player: Player) -> int:
        seen = player.entries
        last = seen[-1] if seen else (0, 0, 0)
        fresh: list[tuple[int, int, int]] = []
        path: str | None = f"ledger?limit={PAGE}"
        requests = 0
        while path:
            page = await _get(http, player, path)
            requests += 1
            lines = [_line(entry) for entry in page["results"]]
            fresh += [line for line in lines if line[0] > last[0]]
            if lines and lines[-1][0] <= last[0]:
                _must(last in lines, f"{player.address}: entry {last} has gone")
                break
            path = _next(page)
        else:
            _must(not seen, f"{player.address}: entry {last} has gone")
        for line in reversed(fresh):
            goes_on = last[0] < line[0] and last[2] + line[1] == line[2] >= 0
            _must(goes_on, f"{player.address}: entry {line} after {last}")
            seen.append(line)
            last = line
        return requests

    async def _look_back(self, http: Http, player: Player) -> None:
        at = self._rng.randrange(10, len(player.entries))
        page = await _get(http, player, f"ledger?limit=10&before={player.entries[at][0]}")
        lines = [_line(entry) for entry in reversed(page["results"])]
        _must(lines == player.entries[at - 10 : at], f"{player.address}: the past has changed")


def _line(entry: Any) -> tuple[int, int, int]:
    return int(entry["entry_id"]), entry["amount_micros"], entry["balance_after_micros"]


def _next(page: Any) -> str | None:
    path: str | None = page["next"]
    return path and path.removeprefix("/api/v1/")


class Unreadable(Exception):
    """The platform could not answer: nothing was seen."""


async def _get(http: Http, player: Player, path: str) -> Any:
    answer: Answer = await http.ask("GET", path, token=player.token)
    if answer.status != 200:
        _must(answer.status in (429, 503), f"GET {path}: {answer}")
        raise Unreadable
    return answer.body


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)
