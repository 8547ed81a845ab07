"""`manage.py play` against the whole platform, on simulated and on recorded prices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests import stack
from tests.recordings import BINANCE, recording

pytestmark = pytest.mark.timeout(240)


def play(running: stack.Stack, rounds: int) -> str:
    command = ["manage.py", "play", "--url", running.url, "--rounds", str(rounds), "--seed", "7"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=stack.ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("COV")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the ledger adds up" in done.stdout
    return done.stdout


def test_play_on_simulated_prices_proves_its_ledger(tmp_path: Path) -> None:
    with stack.running(tmp_path, prepared=False) as running:
        running.clock_rate(4)
        assert "confirmed 4" in play(running, 4)


def test_play_on_a_recording_proves_its_ledger(tmp_path: Path) -> None:
    for name in BINANCE:
        recording(name)
    with stack.running(
        tmp_path,
        PRICE_SOURCES="replay",
        REPLAY_FILES=",".join(BINANCE),
        RECORDINGS_DIR=str(settings.RECORDINGS_DIR),
    ) as running:
        running.clock_rate(4)
        play(running, 4)
