"""Taking a backup: copy, compress, store, read back, and let go of the old ones."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from django.conf import settings

from ops.archive import shelf
from ops.backup import copies, manifest, retention, status, store
from ops.backup.manifest import Manifest, Stored
from ops.backup.packing import forget, unpack
from ops.lock import FolderLock
from ops.version import version
from taptrading import clock
from taptrading.limits import LIMITS

logger = logging.getLogger(__name__)

# Of a database's name: the step, how much of it is done, of how much (0: nobody knows).
Progress = Callable[[str, str, int, int], None]

# One that was cut short may still be under way for so long.
_UNFINISHED_FOR: Final = timedelta(days=1)


class NoRoom(Exception):
    """The disk has no room for a copy."""


class Plan(NamedTuple):
    databases: dict[str, Path]
    bytes_needed: int
    bytes_free: int

    @property
    def fits(self) -> bool:
        return self.bytes_needed <= self.bytes_free


def plan() -> Plan:
    """Each copy stands beside its compressed form until it is stored; none of that may take the
    room that bets need. Raises NotSqlite."""
    databases = copies.databases()
    usage = shutil.disk_usage(settings.DATA_DIR)
    spared = (usage.used + usage.free) * (100 - LIMITS.disk_refuse_pct) // 100
    largest = max(map(copies.size_of, databases.values()))
    at_rest = 0 if settings.S3_BUCKET else sum(map(copies.size_of, databases.values()))
    return Plan(databases, 2 * largest + at_rest, usage.free - spared)


def take(progress: Progress) -> Manifest:
    """A new backup, read back. Raises AlreadyRunning, NoRoom, NotSqlite, Damaged, sqlite3.Error
    or one of store.ERRORS."""
    lock = FolderLock(Path(settings.RUN_DIR) / "backup.lock")
    lock.take()
    try:
        with _work_folder() as folder:
            taken = _take(folder, progress)
        removed = let_go()
    finally:
        lock.release()
    logger.info("action=backup name=%s s=%.1f removed=%s", taken.name, taken.took_s, removed)
    return taken


def _take(folder: Path, progress: Progress) -> Manifest:
    planned = plan()
    if not planned.fits:
        raise NoRoom(
            f"a copy needs {planned.bytes_needed} bytes, and the disk has {planned.bytes_free} to"
            " spare: docs/runbooks/disk-space.md"
        )
    started = time.monotonic()
    taken_us = clock.now_us()
    name = manifest.name_at(taken_us)
    files: list[Stored] = []
    facts: dict[str, Any] = {}
    for database, source in planned.databases.items():
        files.append(_store(name, database, source, folder, facts, progress))
    made = Manifest(
        name=name,
        taken_us=taken_us,
        took_s=round(time.monotonic() - started, 3),
        version=version(),
        files=files,
        facts=facts,
    )
    store.save_manifest(made)
    if store.manifest(name) != made:
        raise shelf.Damaged(f"{name}: the manifest that is stored is not the one that was written")
    status.remember(
        {"taken_at": taken_us / clock.US_PER_S, "bytes": made.packed_bytes, "seconds": made.took_s}
    )
    return made


def _store(
    name: str,
    database: str,
    source: Path,
    folder: Path,
    facts: dict[str, Any],
    progress: Progress,
) -> Stored:
    """One database, copied, stored and read back."""
    raw, packed = folder / database, folder / f"{database}.zst"
    expected = copies.size_of(source)
    copies.copy(source, raw, lambda done: progress(database, "copy", done, expected))
    facts |= copies.facts_of(database, raw)
    progress(database, "pack", 0, 1)
    stored = Stored(database, **shelf.pack(raw, packed)._asdict())
    raw.unlink()
    progress(database, "store", 0, 1)
    store.save(name, stored.key, packed)
    packed.unlink()
    progress(database, "read back", 0, 1)
    unpack(store.load(name, stored.key), stored, forget)
    progress(database, "read back", 1, 1)
    return stored


@contextmanager
def _work_folder() -> Iterator[Path]:
    """Empty at the start, whatever a run that was killed left there; gone at the end."""
    folder = Path(settings.DATA_DIR) / "backup-work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def let_go() -> list[str]:
    """Remove the backups that need not stay, and what is left of those that were cut short. Their
    names."""
    now = clock.now()
    complete, unfinished = {}, []
    for name in store.names():
        at = manifest.time_of(name)
        assert at is not None
        if store.is_complete(name):
            complete[at] = name
        elif now - at > _UNFINISHED_FOR:
            unfinished.append(name)
    stays = retention.kept(complete, now)
    gone = [name for at, name in complete.items() if at not in stays] + unfinished
    for name in gone:
        store.remove(name)
    return gone
