"""The same request many times at once, across restarts: see `exactly_once.py`."""

import asyncio
import secrets

import pytest

from tests import stack
from tests.bank.exactly_once import play
from tests.bank.house import SETTINGS
from tests.servers import short_folder

pytestmark = pytest.mark.timeout(240)


def test_requests_when_sent_again_and_again_across_restarts_then_done_once() -> None:
    seed = secrets.randbelow(1 << 31)
    print(f"seed: {seed}")
    with (
        short_folder() as folder,
        stack.running(folder, WEB_WORKERS="2", **SETTINGS) as running,
    ):
        running.clock_rate(2)
        trial = asyncio.run(play(running, 250, seed, fault_s=1.0))
    print(dict(trial.cases), dict(trial.answers), trial.faults)

    assert trial.answers["nonce_reused"] > 10
    assert trial.done
