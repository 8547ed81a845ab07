"""More bets at once than the money covers: see `double_spend.py`."""

import asyncio
import secrets

import pytest

from tests import stack
from tests.bank.double_spend import rush
from tests.bank.house import SETTINGS
from tests.servers import short_folder

pytestmark = pytest.mark.timeout(240)


def test_bets_when_more_come_at_once_than_the_money_covers_then_no_more_are_accepted() -> None:
    seed = secrets.randbelow(1 << 31)
    print(f"seed: {seed}")
    with short_folder() as folder, stack.running(folder, WEB_WORKERS="2", **SETTINGS) as running:
        running.clock_rate(4)
        told = asyncio.run(rush(running, seed, bets=100, rounds=1))
    print(dict(told))
    assert told["insufficient_funds"] > 0
    assert told["session_key_invalid"] > 0
