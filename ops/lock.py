"""One platform a data folder: a lock that the kernel lets go of when its holder dies."""

import fcntl
import os
from pathlib import Path

from taptrading.errors import TapTradingError


class AlreadyRunning(TapTradingError):
    """Another supervisor runs on this data folder."""


class FolderLock:
    """Held from `take` until the process ends, or `release`."""

    def __init__(self, file: Path) -> None:
        self._path = file
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises AlreadyRunning, naming the process that holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise AlreadyRunning(
                f"the platform already runs on {self._path.parent}, as process {holder or '?'}:"
                " stop that one first, or set DATA_DIR to another folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
