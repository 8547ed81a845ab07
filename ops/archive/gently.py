"""Large files written beside the ledger's log.

Where both lie on one file system, a COMMIT's fsync may wait for all that anybody has written to new
blocks of it (ext4 with ordered data, its default). So large files go to the disk piece by piece.
"""

import os
from pathlib import Path
from typing import Final, Protocol

from taptrading.limits import MIB

_AT_ONCE: Final = 4 * MIB


class _File(Protocol):
    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...
    def fileno(self) -> int: ...


class Gently:
    """What is written through it is on the disk but for the last few MiB."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._waiting = 0

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._waiting += len(data)
        if self._waiting >= _AT_ONCE:
            self.sync()
        return written

    def sync(self) -> None:
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._waiting = 0


def sync(path: Path) -> None:
    """What anybody has written to this file so far, or the names in this folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
