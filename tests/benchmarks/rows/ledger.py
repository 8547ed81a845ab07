"""The integrity check over a long past: `manage.py verify_ledger` as an operator runs it.

The projection takes the time that an empty database costs as fixed, and the rest as growing with
the entries.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import history
from tests.benchmarks.report import Figure, Scale
from tests.stack import ROOT

BUDGET_ENTRIES: Final = 10_000_000
MUST_S, AIM_S = 120.0, 30.0
ENTRIES: Final = {Scale.CI: 20_000, Scale.NORMAL: 800_000, Scale.LONG: BUDGET_ENTRIES}
WALLETS: Final = 2_500
# Stakes, and payouts and refunds of some of them; see `history`.
_ENTRIES_A_BET: Final = 1.22


def run(scale: Scale) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = history.migrated(Path(folder))
        start_s = _verify(path.parent)
        wallets = min(WALLETS, ENTRIES[scale] // 20)
        bets = int((ENTRIES[scale] - wallets) / _ENTRIES_A_BET)
        started = time.monotonic()
        written = history.write(path, bets, history.some_addresses(wallets))
        detail: dict[str, Any] = {
            **written._asdict(),
            "start_s": round(start_s, 2),
            "written_s": round(time.monotonic() - started, 1),
            "database_mib": path.stat().st_size // 2**20,
        }
        took_s = _verify(path.parent)
    figure = Figure("ledger", f"checks of {written.entries:,} entries", took_s, "s", detail=detail)
    if scale is Scale.CI:  # starting the processes is most of it
        return [figure]
    growing_s = (took_s - start_s) * BUDGET_ENTRIES / written.entries
    return [figure, _projected(start_s + growing_s)]


def _projected(seconds: float) -> Figure:
    name = "checks of 10 M entries, projected"
    return Figure("ledger", name, seconds, "s", MUST_S, AIM_S, more_is_better=False)


def _verify(data: Path) -> float:
    """Seconds from the command's start to its end. Raises CalledProcessError if it finds
    anything."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "manage.py", "verify_ledger", "--json"],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(data)},
        check=True,
        capture_output=True,
    )
    took_s = time.monotonic() - started
    assert json.loads(done.stdout)["clean"]
    return took_s
