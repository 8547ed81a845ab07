"""A backup, back as databases: in a folder of its own, or where the platform looks for them."""

import contextlib
import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db.migrations.loader import MigrationLoader

from ops.archive import gently
from ops.backup import children, copies, store
from ops.backup.manifest import Manifest, name_at
from ops.backup.packing import unpack
from ops.backup.run import NoRoom, Progress
from ops.lock import AlreadyRunning, FolderLock
from taptrading import clock
from taptrading.errors import TapTradingError
from taptrading.limits import MIB

_CLEAN, _FOUND = 0, 1
_SMALL_BYTES: Final = 256 * MIB  # sooner checked than shared among processes
# SQLite's companions of a database file.
_BESIDE: Final = ("-wal", "-shm", "-journal")


class Occupied(Exception):
    """The folder holds a database already."""


class InUse(Exception):
    """Somebody has the databases open."""


class Unusable(Exception):
    """What was restored cannot be looked at."""


class CutShort(TapTradingError):
    """The databases are half exchanged."""


class Restored(NamedTuple):
    """`fetched_s` and `checked_s` are how long that took; `findings` those of the check."""

    manifest: Manifest
    folder: Path
    fetched_s: float
    checked_s: float
    findings: dict[str, int]
    examples: list[Any]

    @property
    def clean(self) -> bool:
        return not self.findings


def into(name: str, folder: Path, progress: Progress) -> Restored:
    """Put the backup's databases into a folder and check them there. Raises NoBackup, Occupied,
    NoRoom, Damaged, Unusable, ValueError, OSError or what the store raises."""
    started = time.monotonic()
    manifest = store.manifest(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_sure_it_is_free(manifest, folder)
    for stored in manifest.files:
        progress(stored.name, "fetch", 0, stored.raw_bytes)
        fresh = folder / f"{stored.name}.part"
        with fresh.open("wb") as target:

            def write(piece: bytes, target: Any = target, stored: Any = stored) -> None:
                target.write(piece)
                progress(stored.name, "fetch", target.tell(), stored.raw_bytes)

            unpack(store.load(name, stored.key), stored, write)
            target.flush()
            os.fsync(target.fileno())
        fresh.rename(folder / stored.name)
    gently.sync(folder)
    fetched_s = time.monotonic() - started
    progress("ledger", "check", 0, 1)
    report = _check(folder)
    checked_s = time.monotonic() - started - fetched_s
    findings = {check: count for check, count in report["checks"].items() if count}
    return Restored(manifest, folder, fetched_s, checked_s, findings, report["examples"])


def _make_sure_it_is_free(manifest: Manifest, folder: Path) -> None:
    for stored in manifest.files:
        if (folder / stored.name).exists():
            raise Occupied(f"{folder / stored.name} is there already: choose an empty folder")
    free = shutil.disk_usage(folder).free
    if free < 2 * manifest.raw_bytes:
        raise NoRoom(f"{folder} has {free} bytes free, and {2 * manifest.raw_bytes} are needed")


def _check(folder: Path) -> dict[str, Any]:
    """The integrity check of what stands in the folder, in the tables that this code expects."""
    for name in (copies.LEDGER, copies.TICKS):
        with closing(sqlite3.connect(folder / name)) as database:
            (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise Unusable(f"{name} is damaged: {verdict}")
    if _is_of_another_version(folder):
        migrated = children.run(folder, "migrate", "--verbosity", "0")
        if migrated.returncode:
            raise Unusable(f"it cannot be migrated: {children.last_words(migrated)}")
    small = (folder / copies.LEDGER).stat().st_size < _SMALL_BYTES
    jobs = ("--jobs", "1") if small else ()
    done = children.run(folder, "verify_ledger", "--json", *jobs)
    if done.returncode not in (_CLEAN, _FOUND):
        raise Unusable(f"its ledger cannot be checked: {children.last_words(done)}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _is_of_another_version(folder: Path) -> bool:
    """Whether this code has tables that the backup has not."""
    known = set(MigrationLoader(None).disk_migrations)
    with closing(sqlite3.connect(folder / copies.LEDGER)) as database:
        rows = database.execute("SELECT app, name FROM django_migrations").fetchall()
    return not known <= set(rows)


# In place.


def marker() -> Path:
    """There while databases are being exchanged: until that is done nothing may start on them."""
    return copies.databases()[copies.LEDGER].with_suffix(".being-restored")


def make_sure_it_is_whole() -> None:
    """Before anything starts on the databases. Raises CutShort."""
    with contextlib.suppress(copies.NotSqlite):
        if marker().exists():
            raise CutShort(
                "a restore was cut short: run `manage.py restore_db --in-place` again, or the"
                " platform would start on half of it"
            )


def in_place(name: str, progress: Progress) -> tuple[Restored, Path]:
    """Exchange the platform's databases for the backup's, if those add up; and where the old ones
    are kept. Whatever was committed after the backup is in those alone.

    Raises InUse, and what `into` does.
    """
    locks = _stand_still()
    try:
        restored = into(name, _fresh_folder(f"restore-{name}"), progress)
        if not restored.clean:
            return restored, restored.folder
        kept = _exchange(restored.folder)
        shutil.rmtree(restored.folder, ignore_errors=True)
    finally:
        for lock in locks:
            lock.release()
    return restored, kept


def _stand_still() -> list[FolderLock]:
    """Nobody may start the platform or the writer meanwhile, nor have the files open. Raises
    InUse."""
    locks = [
        FolderLock(Path(settings.DATA_DIR) / "platform.lock"),
        FolderLock(Path(settings.WRITER_SOCKET).with_suffix(".lock")),
    ]
    for lock in locks:
        try:
            lock.take()
        except AlreadyRunning as error:
            for other in locks:
                other.release()
            raise InUse("the platform runs: stop it first") from error
    users = users_of([*copies.databases().values()])
    if users:
        for lock in locks:
            lock.release()
        raise InUse(f"these processes have the databases open: {', '.join(map(str, users))}")
    return locks


def users_of(files: list[Path]) -> list[int]:
    """The processes, other than this one, that have one of the files open; those of other users
    are seen by root alone."""
    wanted = {(found.st_dev, found.st_ino) for path in files if (found := _stat(path))}
    users = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        found = _stat(descriptor)
        if found and (found.st_dev, found.st_ino) in wanted:
            users.add(int(descriptor.parts[2]))
    return sorted(users - {os.getpid()})


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _fresh_folder(name: str) -> Path:
    """Beside the databases, so that files can be moved there in one step."""
    folder = copies.databases()[copies.LEDGER].parent / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _exchange(folder: Path) -> Path:
    """Cut short, it is begun again by the next restore: what was there is linked before it is
    replaced, and nothing starts while the marker stands."""
    kept = _fresh_folder(f"replaced-{name_at(clock.now_us())}")
    kept.mkdir(mode=0o700)
    marker().touch()
    gently.sync(marker().parent)
    for name, current in copies.databases().items():
        for suffix in ("", *_BESIDE):
            old = Path(f"{current}{suffix}")
            if old.exists():
                os.link(old, kept / old.name)
        gently.sync(kept)
        for suffix in _BESIDE:  # of the old file: they would be taken for the new one's
            Path(f"{current}{suffix}").unlink(missing_ok=True)
        _settle(folder / name)
        os.replace(folder / name, current)
    gently.sync(marker().parent)
    marker().unlink()
    gently.sync(marker().parent)
    return kept


def _settle(path: Path) -> None:
    """All of it in the one file, which alone is moved."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("PRAGMA journal_mode=DELETE")
