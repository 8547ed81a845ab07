"""The bank test on real processes: see `game.py`. Its long form is `python -m tests.bank`."""

import asyncio
import secrets

import pytest

from tests import stack
from tests.bank.game import Plan, play
from tests.bank.house import SETTINGS
from tests.servers import short_folder

pytestmark = pytest.mark.timeout(240)


def test_bank_when_parts_die_and_stall_then_every_word_to_a_client_was_true() -> None:
    plan = Plan(
        wallets=16,
        operations=2_000,
        seed=secrets.randbelow(1 << 31),
        rate=160,
        fault_s=0.5,
        stop_s=1.5,
        columns=4,
    )
    print(f"replay: {plan}")
    with short_folder() as folder, stack.running(folder, **SETTINGS) as running:
        running.clock_rate(4)
        result = asyncio.run(play(running, plan))
    print(*result.lines(), sep="\n")

    assert sum(result.faults.values()) >= 5
    told = {deed.told for deed in result.bank.history.deeds.values()}
    assert told >= {"ok", "failed"}
    assert result.bank.auditor.counted > 0
    assert result.book_reads > 10
