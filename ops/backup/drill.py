"""A restore for trial: does the newest backup come back, does it add up, and what would be lost?"""

import shutil
import time
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError

from ops.backup import restore, status, store
from ops.backup.run import NoRoom, Progress
from taptrading import clock, disk
from taptrading.rows import fetch

_NEWEST: Final = "SELECT coalesce(max(id), 0), coalesce(max(created_at), 0) FROM wallet_seal"


def drill(name: str | None, folder: Path | None, progress: Progress) -> dict[str, Any]:
    """The report. RTO: from the decision to restore to databases that can be started on, check
    included. RPO: how long ago the backup was taken, and what has been committed since: lost if
    the disk were lost now. Raises what `restore.into` does."""
    started = time.monotonic()
    lost_us = clock.now_us()
    chosen = store.newest() if name is None else name
    scratch = folder or Path(settings.DATA_DIR) / "restore-drill"
    if folder is None:
        shutil.rmtree(scratch, ignore_errors=True)
        _make_sure_bets_go_on(chosen)
    try:
        restored = restore.into(chosen, scratch, progress)
        rto_s = time.monotonic() - started
    finally:
        if folder is None:
            shutil.rmtree(scratch, ignore_errors=True)
    if restored.clean:
        status.remember({"drilled_at": lost_us / clock.US_PER_S, "drill_seconds": rto_s})
    manifest = restored.manifest
    return {
        "backup": manifest.name,
        "clean": restored.clean,
        "findings": restored.findings,
        "examples": restored.examples,
        "rto_s": round(rto_s, 3),
        "fetched_s": round(restored.fetched_s, 3),
        "checked_s": round(restored.checked_s, 3),
        "rpo_s": round((lost_us - manifest.taken_us) / clock.US_PER_S, 3),
        **_since(manifest.facts),
    }


def _make_sure_bets_go_on(name: str) -> None:
    """Beside a platform at work a trial must not take the room that bets need. Raises NoRoom."""
    needed = 2 * store.manifest(name).raw_bytes
    spare = disk.room_in(Path(settings.DATA_DIR)).spare_bytes
    if needed > spare:
        raise NoRoom(f"a trial needs {needed} bytes, and the disk has {max(0, spare)} to spare")


def _since(facts: dict[str, Any]) -> dict[str, Any]:
    """What was committed after the backup, if the live database can be asked: in a true disaster
    it cannot."""
    try:
        ((seals, sealed_us),) = fetch(_NEWEST, [])
    except DatabaseError:
        return {"seals_since": None, "last_commit_lost": None}
    lost = seals - facts["seals"]
    return {
        "seals_since": lost,
        "last_commit_lost": clock.iso_ms(sealed_us) if lost > 0 else None,
    }
