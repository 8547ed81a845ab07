"""How full the disks are that the platform writes to, and what that means for it.

Asked of the kernel by a thread, once a second: a disk that hangs must not hold up who asks here.
Room is what an unprivileged program may still write, whoever asks.
"""

import logging
import os
import threading
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from django.conf import settings

from taptrading.limits import LIMITS, Limits

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
_SQLITE: Final = "django.db.backends.sqlite3"


class Level(IntEnum):
    """From each one on, what is done in those below it is done too."""

    FINE = 0
    WARN = 1  # it is said
    CLEAN = 2  # room is made
    REFUSE = 3  # no bet is taken; those taken are settled


class Room(NamedTuple):
    used_bytes: int
    free_bytes: int

    @property
    def used_pct(self) -> float:
        return 100 * self.used_bytes / max(1, self.used_bytes + self.free_bytes)

    @property
    def free_ratio(self) -> float:
        return self.free_bytes / max(1, self.used_bytes + self.free_bytes)

    @property
    def spare_bytes(self) -> int:
        """What may be written before bets are refused; below zero: they are."""
        spared = (self.used_bytes + self.free_bytes) * (100 - LIMITS.disk_refuse_pct) // 100
        return self.free_bytes - max(spared, LIMITS.disk_keep_free_bytes)

    def level(self, limits: Limits | None = None) -> Level:
        limits = limits or LIMITS
        if self.used_pct >= limits.disk_refuse_pct or self.free_bytes < limits.disk_keep_free_bytes:
            return Level.REFUSE
        if self.used_pct >= limits.disk_clean_pct:
            return Level.CLEAN
        return Level.WARN if self.used_pct >= limits.disk_warn_pct else Level.FINE


def room_in(folder: Path) -> Room:
    """Raises OSError."""
    found = os.statvfs(folder)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return Room(used, found.f_bavail * found.f_frsize)


def folders() -> list[Path]:
    """Where the platform writes: its data folder, and its databases' if those are files."""
    files = [d["NAME"] for d in settings.DATABASES.values() if d["ENGINE"] == _SQLITE]
    # A test's database may be in memory.
    beside = [Path(file).parent for file in files if Path(file).is_file()]
    return list(dict.fromkeys([Path(settings.DATA_DIR), *beside]))


def room() -> Room:
    """Of the fullest disk. Raises OSError."""
    return max((room_in(folder) for folder in folders()), key=lambda found: found.used_pct)


class Watch:
    """A thread that keeps `level` a second old at most, from `start` to `stop`."""

    def __init__(self) -> None:
        self.level = Level.FINE
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)

    @property
    def refuses(self) -> bool:
        return self.level is Level.REFUSE

    def start(self) -> None:
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_S)

    def look(self) -> None:
        try:
            found = room()
        except OSError as error:  # what a disk that cannot be asked has left, nobody knows
            log.error("the disk cannot be asked: %s", error)
            return
        level = found.level()
        if level is not self.level:
            say = log.critical if Level.REFUSE in (level, self.level) else log.warning
            say("action=disk level=%s used_pct=%.1f", level.name.lower(), found.used_pct)
        self.level = level

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()


# The writer's, which alone starts it.
watch: Final = Watch()
