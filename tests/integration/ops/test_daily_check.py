"""The daily check and `verify_ledger --explain`, by real processes on a database in a file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pysqlite3 as sqlite3
import pytest
from django.conf import settings as django_settings
from prometheus_client import REGISTRY

from ops import tasks
from ops.integrity import daily
from ops.lock import FolderLock
from tests.benchmarks import history
from tests.stack import ROOT
from wallet.ids import HOUSE
from wallet.triggers import TRIGGERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("past")
    history.write(history.migrated(folder), 300, history.some_addresses(5))
    return folder / "data"


@pytest.fixture
def checked(folder: Path, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check looks at that database."""
    settings.RUN_DIR = tmp_path
    monkeypatch.setenv("DATA_DIR", str(folder))
    for name in [name for name in os.environ if name.startswith("COV")]:
        monkeypatch.delenv(name)


class spoiled:
    """Some entry's amount is another one, as no writer would have it; put right again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / history.DATABASE

    def __enter__(self) -> tuple[int, int]:
        """Its id and the trader's wallet."""
        with closing(sqlite3.connect(self._path)) as database:
            self._change(database, 1)
            return database.execute(  # type: ignore[no-any-return]
                "SELECT id, debit_wallet_id FROM wallet_ledgerentry WHERE kind = 'STAKE'"
                " ORDER BY id LIMIT 1 OFFSET 5"
            ).fetchone()

    def __exit__(self, *_: Any) -> None:
        with closing(sqlite3.connect(self._path)) as database:
            self._change(database, -1)

    def _change(self, database: Any, micros: int) -> None:
        with database:
            found = database.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall()
            for name, _ in found:
                database.execute(f"DROP TRIGGER {name}")
            database.execute(
                "UPDATE wallet_ledgerentry SET amount_micros = amount_micros + ? WHERE id ="
                " (SELECT id FROM wallet_ledgerentry WHERE kind = 'STAKE' ORDER BY id"
                " LIMIT 1 OFFSET 5)",
                [micros],
            )
            for _, sql in found:
                database.execute(sql)


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def explain(folder: Path, which: str, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    return subprocess.run(
        [sys.executable, "manage.py", "verify_ledger", "--explain", which, *options],
        cwd=ROOT,
        env=environment | {"DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_daily_check_when_all_is_well_then_clean_and_its_time_is_told(checked: None) -> None:
    assert tasks.verify_ledger() is True
    assert gauge("ledger_findings", check="chain") == 0
    assert (gauge("last_successful_integrity_check_timestamp") or 0) > 1_700_000_000
    assert (gauge("integrity_check_seconds") or 0) > 0


def test_daily_check_when_an_entry_was_changed_then_the_metric_says_which_check(
    checked: None, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with spoiled(folder):
        assert tasks.verify_ledger() is False
    assert (gauge("ledger_findings", check="seals") or 0) >= 1
    assert (gauge("ledger_findings", check="chain") or 0) >= 1
    assert any(record.levelname == "CRITICAL" for record in caplog.records)
    assert tasks.verify_ledger() is True
    assert gauge("ledger_findings", check="seals") == 0


def test_daily_check_when_a_balance_is_skewed_by_hand_then_what_ledger_drift_looks_at_says_so(
    checked: None, folder: Path
) -> None:
    """Balances have no trigger: whoever has a SQL shell could raise their own."""
    with skewed(folder, 1):
        assert tasks.verify_ledger() is False
        assert (gauge("ledger_findings", check="balances_match_entries") or 0) >= 1
    assert tasks.verify_ledger() is True
    assert gauge("ledger_findings", check="balances_match_entries") == 0


@contextmanager
def skewed(folder: Path, micros: int) -> Iterator[None]:
    for by_micros in (micros, -micros):
        with closing(sqlite3.connect(folder / history.DATABASE)) as database, database:
            database.execute(
                "UPDATE wallet_wallet SET balance_micros = balance_micros + ? WHERE id ="
                " (SELECT max(id) FROM wallet_wallet WHERE kind = 'player')",
                [by_micros],
            )
        if by_micros == micros:
            yield


def test_daily_check_when_one_runs_already_then_no_second_one(checked: None) -> None:
    running = FolderLock(Path(django_settings.RUN_DIR) / "integrity.lock")
    running.take()
    assert tasks.verify_ledger() is None
    running.release()
    assert tasks.verify_ledger() is True


def test_daily_check_when_the_database_cannot_be_read_then_it_says_so_and_tells_no_verdict(
    checked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / history.DATABASE).write_bytes(b"this is no database, whatever it is called" * 100)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    before = gauge("last_successful_integrity_check_timestamp")
    with pytest.raises(daily.CouldNotRun, match="not a database"):
        tasks.verify_ledger()
    assert gauge("last_successful_integrity_check_timestamp") == before


def test_explain_then_sums_by_kind_and_the_newest_lines(folder: Path) -> None:
    (address, *_) = history.some_addresses(1)
    told = json.loads(explain(folder, address.upper().replace("0X", "0x"), "--json").stdout)
    kinds = told["by_kind"]
    assert (told["adds_up"], told["breaks"]) == (True, 0)
    assert kinds["STAKE"]["out_micros"] > kinds["STAKE"]["in_micros"] == 0
    total = sum(kind["in_micros"] - kind["out_micros"] for kind in kinds.values())
    assert total == told["sum_micros"] == told["wallet"]["balance_micros"]
    assert sum(kind["entries"] for kind in kinds.values()) == told["entries"]
    assert told["newest"][0]["balance_after_micros"] == told["wallet"]["balance_micros"]
    story = explain(folder, str(told["wallet"]["id"]))
    assert story.returncode == 0
    assert f"{address} (wallet {told['wallet']['id']}): adds up" in story.stdout


def test_explain_when_a_line_does_not_follow_from_the_one_before_then_it_is_shown(
    folder: Path,
) -> None:
    with spoiled(folder) as (entry_id, wallet_id):
        found = explain(folder, str(wallet_id))
        house = json.loads(explain(folder, str(HOUSE), "--json").stdout)
    assert found.returncode == 1
    assert "DOES NOT ADD UP" in found.stdout
    assert str(entry_id) in found.stdout
    assert [line["entry_id"] for line in house["first_breaks"]] == [entry_id]


@pytest.mark.parametrize("which", ["0x" + "f" * 40, "99", "9" * 40, "nobody", "\u0661"])
def test_explain_when_there_is_no_such_wallet_then_it_says_so(folder: Path, which: str) -> None:
    ended = explain(folder, which)
    assert ended.returncode == 2
    assert ended.stderr == f"could not run: no wallet {which}\n"


def test_spoiling_leaves_the_triggers_in_place(folder: Path) -> None:
    with spoiled(folder), closing(sqlite3.connect(folder / history.DATABASE)) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        assert {name for (name,) in names} >= set(TRIGGERS)
