"""How fast the disk fills: what is projected from a short past, and what a longer one takes."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pysqlite3 as sqlite3
import pytest
from prometheus_client import REGISTRY

from ops import growth, tasks
from ops.growth import DAY_S, Growth
from taptrading.disk import Room
from taptrading.limits import LIMITS, MIB
from tests.benchmarks import history
from tests.stack import ROOT

GIB = 1024 * MIB


def told(data: Path) -> dict[str, Any]:
    """What the command says of the databases in this folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "manage.py", "disk_space", "--json"],
        cwd=ROOT,
        env=inherited | {"DATA_DIR": str(data)},
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if found["level"] in ("clean", "refuse") else 0), done.stderr
    return found


def held_in(path: Path) -> int:
    """Bytes of the file's pages."""
    with closing(sqlite3.connect(path)) as database:
        ((pages,), (size,)) = (
            database.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
    return int(pages * size)


def test_growth_when_measured_on_a_short_past_then_a_longer_one_takes_what_was_projected(
    tmp_path: Path,
) -> None:
    short = history.migrated(tmp_path)
    long = short.with_name("long.sqlite3")
    shutil.copy(short, long)
    history.write(short, 3_000, history.some_addresses(50))
    history.write(long, 12_000, history.some_addresses(50))
    found = told(short.parent)
    assert found["bets"] == 3_000
    assert found["segment_bytes_a_bet"] == found["bytes_a_bet"]  # nothing is archived yet
    assert found["bytes_a_bet"] * 12_000 == pytest.approx(held_in(long), rel=0.25)


def grown(**changes: Any) -> Growth:
    """A million bets a day of 1 000 bytes on a disk of 100 GiB."""
    fields: dict[str, Any] = {
        "bets": 7_000_000,
        "bets_a_day": 1_000_000,
        "ledger_bytes": 7 * 10**9,
        "prices_bytes": 10**8,
        "bytes_a_bet": 1_000,
        "segment_bytes_a_bet": 500,
        "room": Room(10 * GIB, 90 * GIB),
    }
    return Growth(**fields | changes)


def test_projection_then_two_weeks_of_the_ledger_and_four_of_segments() -> None:
    one = grown()
    assert one.bytes_a_day == 10**9
    assert one.projected_bytes == 10 * GIB + (14 - 7) * 10**9 + 28 * 500 * 10**6
    assert one.projected_ratio == one.projected_bytes / (100 * GIB)
    assert one.days_left == (90 - 5) * GIB / 10**9
    assert LIMITS.archive_after_s == 7 * DAY_S


def test_projection_when_nobody_bets_then_it_never_fills() -> None:
    idle = grown(bets_a_day=0)
    assert idle.days_left is None
    assert idle.projected_bytes == idle.room.used_bytes


def test_days_left_when_there_is_no_room_then_none_of_them() -> None:
    assert grown(room=Room(96 * GIB, 4 * GIB)).days_left == 0


@pytest.mark.django_db
def test_metrics_when_there_are_few_bets_then_by_what_a_long_past_took() -> None:
    tasks.project_growth()
    sample = REGISTRY.get_sample_value
    assert sample("ledger_bytes_per_bet") == growth.BYTES_A_BET
    assert sample("ledger_growth_bytes_per_day") == 0
    assert sample("disk_days_left") == float("inf")
    assert 0 < (sample("projected_disk_used_ratio") or 0) <= 1
