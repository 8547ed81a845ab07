"""`manage.py verify_ledger` on a database in a file: its exit codes, its processes, and money that
moves on while it looks."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import history
from tests.stack import ROOT

BETS = 12_000

# Holds and releases, many a second, until its parent is done with it.
BUSY_WRITER = """
import django; django.setup()
import time, uuid
from bets.liabilities import promised_micros
from wallet.models import Wallet
from wallet.transfers import CancelWithdrawal, RequestWithdrawal, TransferHandler
from wallet.writer import Writer
writer = Writer([TransferHandler(promised_micros)])
players = list(Wallet.objects.filter(kind="player")[:10])
while True:
    held = [RequestWithdrawal(p.pk, 1, p.address, uuid.uuid4().hex, 0, b"") for p in players]
    outcomes, _ = writer.run(held)
    cancelled = [CancelWithdrawal(p.pk, o.id) for p, o in zip(players, outcomes)]
    writer.run(cancelled)
    print(".", flush=True)
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a past."""
    folder = tmp_path_factory.mktemp("past")
    written = history.write(history.migrated(folder), BETS, history.some_addresses(500))
    assert written.bets == BETS
    return folder / "data"


def environment(folder: Path) -> dict[str, str]:
    settings = {"DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "taptrading.settings"}
    return {k: v for k, v in os.environ.items() if not k.startswith("COV")} | settings


def verify(folder: Path, *options: str) -> tuple[int, Any, str]:
    """Exit code, what the JSON says, and what was told on stderr meanwhile."""
    ended = subprocess.run(
        [sys.executable, "manage.py", "verify_ledger", "--json", *options],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=100,
    )
    return ended.returncode, json.loads(ended.stdout or "null"), ended.stderr


def entries(folder: Path) -> int:
    with closing(sqlite3.connect(folder / history.DATABASE)) as database:
        return int(database.execute("SELECT count(*) FROM wallet_ledgerentry").fetchone()[0])


@contextmanager
def busy_writer(folder: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY_WRITER],
        cwd=ROOT,
        env=environment(folder) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b".\n"
        yield
        assert process.poll() is None, "the writer gave up"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_verify_when_money_moves_on_then_nothing_is_found(folder: Path, jobs: str) -> None:
    before = entries(folder)
    with busy_writer(folder):
        code, said, progress = verify(folder, "--jobs", jobs)
    assert code == 0, (said, progress)
    assert (said["clean"], said["examples"]) == (True, [])
    assert entries(folder) > before
    assert "ledger, 100 %" in progress


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_verify_when_an_old_entry_was_changed_then_one_and_its_finding(
    folder: Path, jobs: str
) -> None:
    with closing(sqlite3.connect(folder / history.DATABASE)) as database:
        (trigger,) = database.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'wallet_ledgerentry_no_update'"
        ).fetchone()
        (middle,) = database.execute(
            "SELECT id FROM wallet_ledgerentry ORDER BY id LIMIT 1 OFFSET 7000"
        ).fetchone()
        change = (
            "UPDATE wallet_ledgerentry SET credit_balance_after_micros ="
            " credit_balance_after_micros + ? WHERE id = ?"
        )
        database.execute("DROP TRIGGER wallet_ledgerentry_no_update")
        database.execute(change, [1, middle])
        database.commit()
        code, said, _ = verify(folder, "--jobs", jobs)
        only_chain = verify(folder, "--jobs", jobs, "--check", "chain")
        database.execute(change, [-1, middle])
        database.execute(trigger)
        database.commit()
    assert code == 1
    found = {check: total for check, total in said["checks"].items() if total}
    assert found == {"chain": 2, "seals": 1, "triggers_present": 1}
    chain = next(example for example in said["examples"] if example["check"] == "chain")
    assert (chain["id"], chain["found"] - chain["expected"]) == (middle, 1)
    assert only_chain[1]["checks"] == {"chain": 2}


def test_verify_when_there_are_no_tables_then_two(tmp_path: Path) -> None:
    code, said, told = verify(tmp_path)
    assert (code, said) == (2, None)
    assert "could not run" in told
