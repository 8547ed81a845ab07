"""Room on the disk, made when it fills up: what is kept elsewhere goes, and history is archived."""

import logging
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from django.conf import settings

from ops.archive import shelf
from ops.lock import AlreadyRunning, FolderLock
from taptrading import disk
from taptrading.disk import Level, Room
from wallet.models import Segment

log = logging.getLogger(__name__)

# Somebody may be reading it, or it would be fetched again at once.
RECENT_S: Final = 600


class Made(NamedTuple):
    """`segments`: the names of those whose local file went."""

    before: Room
    after: Room
    segments: list[str]
    leftovers: list[str]


def make_room() -> Made:
    """Remove what loses nothing: files of segments whose stored copy was read back, and what runs
    that were killed left behind. Raises OSError or django.db.Error."""
    before = disk.room()
    leftovers = _remove_leftovers()
    segments = shelf.drop(older_than_s=RECENT_S)
    made = Made(before, disk.room(), segments, leftovers)
    log.warning(
        "action=make_room used_pct=%.1f was=%.1f segments=%s leftovers=%s",
        *(made.after.used_pct, before.used_pct, segments, leftovers),
    )
    return made


def _remove_leftovers() -> list[str]:
    """Of archive runs that are finished and of restores for history; of one under way, nothing."""
    lock = FolderLock(Path(settings.RUN_DIR) / "archive.lock")
    try:
        lock.take()
    except AlreadyRunning:
        return []
    try:
        under_way = set(
            Segment.objects.exclude(state=Segment.State.PRUNED).values_list("name", flat=True)
        )
        gone = []
        for path in sorted((Path(settings.SEGMENTS_DIR) / "work").glob("*")):
            old = time.time() - path.stat().st_mtime > RECENT_S
            if path.name.partition(".")[0] not in under_way and old:
                path.unlink(missing_ok=True)
                gone.append(path.name)
        return gone
    finally:
        lock.release()


def as_json(room: Room) -> dict[str, Any]:
    return {
        "used_pct": round(room.used_pct, 1),
        "used_bytes": room.used_bytes,
        "free_bytes": room.free_bytes,
        "level": room.level().name.lower(),
    }


_archived_s: float | None = None
ARCHIVE_EVERY_S: Final = 3_600


def archive_is_due(level: Level) -> bool:
    """Whether the archive should run ahead of its week: once an hour at most, while the disk is
    this full."""
    global _archived_s
    if level < Level.CLEAN:
        return False
    now_s = time.monotonic()
    if _archived_s is not None and now_s - _archived_s < ARCHIVE_EVERY_S:
        return False
    _archived_s = now_s
    return True
