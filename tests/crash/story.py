"""A short life of a ledger, told again and again in forked children, each with another fate.

`python -m tests.crash.story` keeps the warm process: a line of JSON in, `{"do": "play"}` or
`{"do": "look"}`; a line out with what the child said. Played by the real writer on a real file;
only Redis and the clock are of this process.
"""

import taptrading  # noqa: F401, I001  # the safe SQLite, before anything imports another

import django

django.setup()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any, Final  # noqa: E402

from django.db import connection  # noqa: E402

from bets.handlers import game_handlers  # noqa: E402
from bets.liabilities import promised_micros  # noqa: E402
from bets.placing import PlaceBet, PlaceOutcome  # noqa: E402
from bets.settlement import DecideColumn, SettleBets, Settled  # noqa: E402
from ops.integrity.checks import CLAIMS  # noqa: E402
from ops.integrity.verify import verify  # noqa: E402
from ops.management.commands.run_writer import tune_connection  # noqa: E402
from pricefeed import recorder  # noqa: E402
from pricefeed.board import Board, FeedState, TickRecord  # noqa: E402
from taptrading import clock  # noqa: E402
from taptrading.errors import Refusal  # noqa: E402
from tests import fakes  # noqa: E402
from wallet.keys import KeyHandler  # noqa: E402
from wallet.protocol import Command, Outcome  # noqa: E402
from wallet.transfers import (  # noqa: E402
    CancelWithdrawal,
    CustodyReport,
    FundHouse,
    OpenWallet,
    RequestWithdrawal,
    TransferHandler,
)
from wallet.writer import CommitInDoubt, Writer  # noqa: E402

USDC: Final = 1_000_000
WALLETS: Final = 4
PRICE_CENTS: Final = 9_500_500
BAND: Final = 1_000
TRIES: Final = 4
DONE, IN_DOUBT, GAVE_UP = 0, 3, 4
# What the custodian holds is not in this story.
STRANGERS: Final = {"custody_matches"}

_STATE: Final = (
    "SELECT status, count(*), sum(stake_micros), sum(payout_micros) FROM bets_bet GROUP BY status",
    "SELECT kind, count(*), sum(amount_micros) FROM wallet_ledgerentry GROUP BY kind",
    "SELECT balance_micros, held_micros, open_stake_micros FROM wallet_wallet ORDER BY 1, 2, 3",
    "SELECT status, count(*), sum(amount_micros) FROM wallet_withdrawal GROUP BY status",
    "SELECT status, count(*), sum(amount_micros) FROM wallet_deposit GROUP BY status",
    "SELECT count(*) FROM bets_settlement",
)


class Unwell(Exception):
    """The database took a batch at no try."""


class Story:
    def __init__(self, say: Any) -> None:
        self.say = say
        self.clock = fakes.ManualClock()
        clock.use(self.clock)
        self.board = Board()
        tune_connection()
        handlers = [
            TransferHandler(promised_micros),
            KeyHandler(),
            *game_handlers(fakes.FakeNonces(), self.board),
        ]
        self.writer = Writer(handlers)

    def tell(self) -> None:
        ids = self._open()
        self._fund()
        self._tick(1)
        self._bet(ids, "a", 8)
        self.clock.advance(0.3)
        self._tick(2)
        self._price()
        self._withdraw(ids)
        self._restart_log()
        self._bet(ids, "b", 6)
        self._bet(ids, "c", 5)
        self.clock.advance(0.3)
        self._tick(3)
        self._price()
        self.clock.advance(70)
        self._settle()

    # Chapters.

    def _open(self) -> list[int]:
        opened = self._run([OpenWallet(f"0x{number:040x}") for number in range(1, WALLETS + 1)])
        assert len(opened) == WALLETS
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM wallet_wallet WHERE kind = 'player' ORDER BY address")
            return [row[0] for row in cursor.fetchall()]

    def _fund(self) -> None:
        reports = [
            CustodyReport(
                f"event {number}",
                "deposit.confirmed",
                f"transfer {number}",
                f"0x{number:040x}",
                1_000 * USDC,
            )
            for number in range(1, WALLETS + 1)
        ]
        self._run([FundHouse(1_000_000 * USDC, "the house"), *reports])

    def _bet(self, ids: list[int], name: str, count: int) -> None:
        column = self.clock.us // clock.US_PER_S // 5 * 5 + 20
        first = PRICE_CENTS // BAND * BAND + {"a": 0, "b": 2, "c": 4}[name] * BAND
        self._run([
            PlaceBet(
                wallet_id=ids[number % WALLETS],
                key_id=0,
                column_start=column + number // WALLETS * 5,
                low_cents=first,
                high_cents=first + BAND,
                stake_micros=(1 + number) * USDC,
                min_rate_bps=10_000,
                nonce=f"{name.encode().hex()}{number:030x}",
                timestamp=self.clock.us // clock.US_PER_S,
                signature=bytes([number]) * 65,
            )
            for number in range(count)
        ])  # fmt: skip

    def _tick(self, seq: int) -> None:
        tick = TickRecord(seq, self.clock.us // 1_000, PRICE_CENTS, 600_000, 0, "story")
        newest = recorder.newest()
        if newest is None or newest.seq < seq:
            recorder.record([tick], self.clock.us)
        self.board.apply(FeedState(tick, "closed"))

    def _price(self) -> None:
        for _ in range(TRIES * 4):
            due = self.writer.due(self.clock.us)
            if not due:
                return
            for commands in due:
                self._run(commands)
        raise Unwell("bets remain to be priced")

    def _withdraw(self, ids: list[int]) -> None:
        self._run([
            RequestWithdrawal(
                wallet_id, 100 * USDC, f"0x{number:040x}", f"dd{number:030x}",
                self.clock.us // clock.US_PER_S, bytes([number]) * 65,
            )
            for number, wallet_id in enumerate(ids, 1)
        ])  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM wallet_withdrawal WHERE wallet_id = %s", [ids[0]])
            ((found,),) = cursor.fetchall()
        self._run([CancelWithdrawal(ids[0], found)])

    def _restart_log(self) -> None:
        """As the checkpointer does beside the writer: the next batch writes at the log's start."""
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(RESTART)")
            cursor.fetchall()

    def _settle(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT column_start FROM bets_bet ORDER BY 1")
            columns = [row[0] for row in cursor.fetchall()]
        low = PRICE_CENTS // BAND * BAND
        for column in columns:
            decision = DecideColumn(
                column_start=column, state="settled", reason="", open_cents=low + 1,
                low_cents=low + 1, high_cents=low + 2 * BAND, close_cents=low + 1, ticks=51,
                max_gap_ms=100, sources="story", ticks_sha256="0" * 64, evidence=b"",
            )  # fmt: skip
            self._run([decision])
            for _ in range(10):
                (settled,) = self._run([SettleBets(column, 3)])
                if isinstance(settled, Settled) and settled.bets == 0:
                    break

    # A batch.

    def _run(self, commands: list[Command]) -> list[Outcome]:
        """Until it is taken: refused whole for the database's sake, it is sent again."""
        for _ in range(TRIES):
            outcomes, _ = self.writer.run(commands)
            if not any(map(_unwell, outcomes)):
                self.say({"acked": sum(map(_is_accepted, outcomes)), "state": state()})
                return outcomes
        raise Unwell("a batch was refused at every try")


def _unwell(outcome: Outcome) -> bool:
    refusal = outcome.refusal if isinstance(outcome, PlaceOutcome) else outcome
    return isinstance(refusal, Refusal) and refusal.code == "dependency_unavailable"


def _is_accepted(outcome: Outcome) -> bool:
    return isinstance(outcome, PlaceOutcome) and outcome.refusal is None


def state() -> str:
    """All that matters of the ledger, but for ids and times."""
    with connection.cursor() as cursor:
        parts = []
        for question in _STATE:
            cursor.execute(question)
            parts.append(sorted(cursor.fetchall(), key=str))
        return json.dumps(parts, default=str)


def play(say: Any) -> int:
    try:
        Story(say).tell()
    except CommitInDoubt as error:
        say({"doubt": str(error)})
        return IN_DOUBT
    except Exception:
        say({"failed": traceback.format_exc()[-2_000:]})
        return GAVE_UP
    return DONE


def look(say: Any) -> int:
    findings = [str(finding) for finding in verify(CLAIMS.keys() - STRANGERS).examples]
    say({"findings": findings, "state": state()})
    return DONE


def main() -> None:
    deeds: dict[str, Any] = {"play": play, "look": look}
    for line in sys.stdin:
        print(json.dumps(_in_a_child(deeds[json.loads(line)["do"]])), flush=True)


def _in_a_child(deed: Any) -> dict[str, Any]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        code = GAVE_UP
        try:
            code = deed(lambda said: os.write(writing, (json.dumps(said) + "\n").encode()))
            connection.close()
        finally:
            os._exit(code)
    os.close(writing)
    said = [json.loads(line) for line in _lines(reading)]
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"said": said, "killed": os.WIFSIGNALED(status), "code": code}


def _lines(reading: int) -> Iterator[str]:
    with os.fdopen(reading, "rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield line.decode()


if __name__ == "__main__":
    main()
