"""`manage.py play` against the whole platform, on simulated and on recorded prices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests import stack

pytestmark = pytest.mark.timeout(240)

RECORDED = (
    "raw/hftbacktest_spot_btcusdt_20240808.jsonl.gz,raw/hftbacktest_spot_btcusdt_20240809.jsonl.gz"
)


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
    with stack.running(tmp_path) as running:
        running.clock_rate(2)
        assert "confirmed 6" in play(running, 6)


def test_play_on_a_recording_proves_its_ledger(tmp_path: Path) -> None:
    missing = [
        name for name in RECORDED.split(",") if not (Path(settings.RECORDINGS_DIR) / name).exists()
    ]
    if missing:
        message = f"not below RECORDINGS_DIR: {missing}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with stack.running(
        tmp_path,
        PRICE_SOURCES="replay",
        REPLAY_FILES=RECORDED,
        RECORDINGS_DIR=str(settings.RECORDINGS_DIR),
    ) as running:
        running.clock_rate(2)
        play(running, 6)
