"""The shim that stands between a process and its disk, and the file that tells it what to do."""

import mmap
import subprocess
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import Final

_SOURCE: Final = Path(__file__).with_name("shim.c")
_CONTROL: Final = Struct("<5q")
LEDGER: Final = "/taptrading.sqlite3"


class Action(IntEnum):
    """What happens at a write, an fsync, a truncation or a removal."""

    KILL_BEFORE = 1
    KILL_AFTER = 2
    TORN = 3  # half of it is written, then the process is killed
    EIO = 4
    ENOSPC = 5

    @property
    def kills(self) -> bool:
        return self <= Action.TORN


class Shim:
    """Compiled into `folder`. `environment` is what a process needs to be under it."""

    def __init__(self, folder: Path, *, only: str = "") -> None:
        library, control = folder / "shim.so", folder / "control"
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True
        )
        control.write_bytes(bytes(_CONTROL.size))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _CONTROL.size)
        self.environment: Final = {
            "LD_PRELOAD": str(library),
            "CRASH_CONTROL": str(control),
            "CRASH_PATTERN": LEDGER,
            "CRASH_ONLY": only,
        }

    def arm(self, countdown: int, action: Action, times: int = 1) -> None:
        """At the `countdown`-th call from now on; failures repeat `times` in a row."""
        _, _, _, calls, fired = self._read()
        self._map[:] = _CONTROL.pack(countdown, action, times, calls, fired)

    def disarm(self) -> None:
        self.arm(0, Action.KILL_BEFORE)

    @property
    def calls(self) -> int:
        return self._read()[3]

    @property
    def fired(self) -> int:
        return self._read()[4]

    def _read(self) -> tuple[int, ...]:
        return _CONTROL.unpack(self._map[:])
