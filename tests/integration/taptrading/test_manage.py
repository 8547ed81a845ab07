"""`manage.py`, whatever the command: a bad environment is one line on stderr and exit code 1."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.stack import ROOT


@pytest.mark.parametrize("command", ["help", "migrate", "run_pricefeed"])
@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("TAP_COLUMN_S", "abc", "TAP_COLUMN_S='abc' is not an integer"),
        ("PRICE_SOURCES", "replay", "refusing to start: PRICE_SOURCES=replay needs REPLAY_FILES"),
        ("DATA_DIR", __file__, f"DATA_DIR={__file__} is unusable: "),
    ],
)
def test_manage_when_the_environment_is_bad_then_one_line_and_one(
    tmp_path: Path, command: str, name: str, value: str, line: str
) -> None:
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "REPLAY_FILES": "", name: value}

    ended = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert (ended.stdout, ended.stderr.count("\n")) == ("", 1), ended.stderr
    assert ended.stderr.startswith(line)


def tables_after_migrate(folder: Path, *words: str) -> dict[str, set[str]]:
    """By file: the tables that `manage.py migrate` made there."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0", *words],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder)},
        check=True,
        timeout=60,
    )
    found = {}
    for path in folder.glob("*.sqlite3"):
        with closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            found[path.name] = {name for (name,) in rows}
    return found


def test_migrate_then_prices_and_ledger_are_in_files_of_their_own(tmp_path: Path) -> None:
    tables = tables_after_migrate(tmp_path)
    assert {"bets_bet", "wallet_ledgerentry"} <= tables["taptrading.sqlite3"]
    assert not any(name.startswith("pricefeed") for name in tables["taptrading.sqlite3"])
    assert "pricefeed_tick" in tables["prices.sqlite3"]
    assert not any(name.startswith(("bets", "wallet")) for name in tables["prices.sqlite3"])


def test_migrate_when_a_database_is_named_then_no_other(tmp_path: Path) -> None:
    assert set(tables_after_migrate(tmp_path, "--database", "prices")) == {"prices.sqlite3"}


def test_manage_when_the_data_folder_is_fresh_then_all_folders_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    subprocess.run(
        [sys.executable, "manage.py", "help"],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder)},
        check=True,
        capture_output=True,
        timeout=60,
    )

    # WhiteNoise would warn if its folder were not there.
    assert (folder / "static").is_dir()
