"""A small disk that a test may fill: a tmpfs of its own, which takes root to mount."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """`folder`, made and mounted; unmounted afterwards. Fails in CI where it cannot be had, and
    skips on a developer's machine."""
    folder.mkdir(parents=True, exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(mounting, capture_output=True, text=True)
    if done.returncode != 0:
        missing = f"no tmpfs can be mounted: {done.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, until_pct: float) -> None:
    """One file, of the size that leaves the disk this full; 0 takes it away."""
    file = folder / "filling"
    file.unlink(missing_ok=True)
    usage = shutil.disk_usage(folder)
    size = int((usage.used + usage.free) * until_pct / 100) - usage.used
    if size > 0:
        with file.open("wb") as target:
            os.posix_fallocate(target.fileno(), 0, size)
