"""What metrics say of backups. A dead man's switch must outlive restarts, so it is told from a
file in the data folder: not from the database, which a restore sets back."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from prometheus_client import Gauge

LAST: Final = Gauge(
    "last_successful_backup_timestamp",
    "When the newest complete backup was taken, read back",
    multiprocess_mode="mostrecent",
)
BYTES: Final = Gauge(
    "backup_bytes", "Size of the newest backup as it is stored", multiprocess_mode="mostrecent"
)
SECONDS: Final = Gauge(
    "backup_seconds", "Time that the newest backup took", multiprocess_mode="mostrecent"
)
DRILLED: Final = Gauge(
    "last_successful_restore_drill_timestamp",
    "When a backup was last restored for trial and its ledger added up",
    multiprocess_mode="mostrecent",
)
DRILL_SECONDS: Final = Gauge(
    "restore_drill_seconds",
    "Time of the last such trial: from nothing to a checked database",
    multiprocess_mode="mostrecent",
)
_GAUGES: Final = {
    "taken_at": LAST,
    "bytes": BYTES,
    "seconds": SECONDS,
    "drilled_at": DRILLED,
    "drill_seconds": DRILL_SECONDS,
}


def remember(facts: Mapping[str, float]) -> None:
    """Facts by names of `_GAUGES`; those that are not named stay as they are."""
    file = _file()
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(known() | dict(facts)))
    os.replace(fresh, file)


def known() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(_file().read_text())
    except (OSError, ValueError):  # before the first one
        return {}
    return found


def tell() -> None:
    found = known()
    for name, gauge in _GAUGES.items():
        if name in found:
            gauge.set(found[name])


def _file() -> Path:
    return Path(settings.DATA_DIR) / "backup-status.json"
