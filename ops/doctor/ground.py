"""The machine: interpreter, libraries, clock, disk, descriptors. No Django, no settings."""

import ctypes
import importlib.metadata
import os
import re
import resource
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ops.doctor import BAD, NOTE, OK, WARN, Check, Finding

ROOT: Final = Path(__file__).resolve().parents[2]
PINS: Final = ROOT / "requirements" / "run.txt"
_PYTHON: Final = (3, 11)
_PIN: Final = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_DESCRIPTORS: Final = 4_096
_FREE_WARN: Final = 0.15  # the alert DiskSpaceLow
_FREE_BAD: Final = 0.05  # bets are refused
_TIMEX_BYTES: Final = 208
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised


def python() -> Iterator[Finding]:
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == _PYTHON:
        yield Finding("python", OK, running)
    else:
        yield Finding("python", BAD, f"{running}, not 3.11", "`make run` makes an environment.")


def sqlite() -> Iterator[Finding]:
    version = sqlite3.sqlite_version
    if is_safe(sqlite3.sqlite_version_info):
        yield Finding("sqlite", OK, version)
    else:
        yield Finding(
            "sqlite", BAD, f"{version} can lose committed writes",
            "Install what requirements/run.txt names: pysqlite3 brings a fixed one.",
        )  # fmt: skip


def is_safe(version: tuple[int, ...]) -> bool:
    """3.51.3, or a branch that has its fix."""
    fixed = ((3, 50, 7), (3, 44, 6))
    return version >= (3, 51, 3) or any(version[:2] == f[:2] and version >= f for f in fixed)


def packages() -> Iterator[Finding]:
    """Those installed against those tried."""
    wrong, missing = [], []
    pins = dict(_PIN.findall(PINS.read_text()))
    for name, pinned in pins.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
        else:
            if found != pinned:
                wrong.append(f"{name} {found} instead of {pinned}")
    advice = "`make run` installs them, or: pip install --require-hashes -r requirements/run.txt"
    if missing:
        yield Finding("packages", BAD, f"not installed: {', '.join(missing)}", advice)
    if wrong:
        yield Finding("packages", WARN, f"not the tried versions: {', '.join(wrong)}", advice)
    if not missing and not wrong:
        yield Finding("packages", OK, f"{len(pins)} as pinned")


def system_clock() -> Iterator[Finding]:
    """Whether something keeps it right: a signature is good for 30 s, and 5 s ahead."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # zeroes: it is read, not set
    state = ctypes.CDLL(None).adjtimex(timex)
    if state < 0:
        yield Finding("clock", NOTE, "the kernel does not say whether it is synchronised")
    elif state == _TIME_ERROR:
        yield Finding(
            "clock", WARN, "the kernel says that nobody keeps it right",
            "Run chrony or systemd-timesyncd. Seconds off refuse every bet as timestamp_expired"
            " or timestamp_in_future.",
        )  # fmt: skip
    else:
        yield Finding("clock", OK, "synchronised")


def descriptors() -> Iterator[Finding]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < _DESCRIPTORS:
        yield Finding(
            "descriptors", WARN, f"at most {most}, and every trader's socket is one",
            "Raise the hard limit: ulimit -Hn, or LimitNOFILE= of the service.",
        )  # fmt: skip
    else:
        yield Finding("descriptors", OK, f"at most {most}")


def data_folder(folder: Path) -> Iterator[Finding]:
    """Whose it is, who may read it, how much room is left."""
    if not folder.is_dir():
        yield Finding("data folder", BAD, f"{folder} is not there", "Set DATA_DIR, or make it.")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        advice = f"chown it to the user that runs the platform (now {os.geteuid()})."
        yield Finding("data folder", BAD, f"{folder} cannot be written to", advice)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        says = f"others of this machine may enter it (mode {mode:o})"
        yield Finding("data folder", WARN, says, f"chmod 700 {folder}")
    foreign = [path.name for path in folder.iterdir() if path.lstat().st_uid != os.geteuid()]
    if foreign and os.geteuid() != 0:
        says = f"not owned by this user: {', '.join(sorted(foreign)[:5])}"
        advice = "One user runs the platform and its commands; chown what another one left."
        yield Finding("data folder", WARN, says, advice)
    yield _room(folder)


def _room(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    free = usage.free / (usage.used + usage.free)
    says = f"{free:.0%} of the disk is free, {usage.free / 2**30:.1f} GiB"
    if free < _FREE_WARN:
        state = BAD if free < _FREE_BAD else WARN
        return Finding("disk", state, says, "docs/runbooks/disk-space.md")
    return Finding("disk", OK, says)


CHECKS: Final[tuple[Check, ...]] = (python, sqlite, packages, system_clock, descriptors)
