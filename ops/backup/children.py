"""Commands of ours run on another data folder, as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from django.conf import settings

PATIENCE_S: Final = 4 * 3_600
# What would lead a process away from the folder it is to look at.
_NOT_INHERITED: Final = (
    *("DATABASE_URL", "PRICES_DATABASE_URL", "REDIS_URL", "WRITER_SOCKET"),
    "PROMETHEUS_MULTIPROC_DIR",
)


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """`manage.py` with these words, on the databases in this folder."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return subprocess.run(  # noqa: S603
        [sys.executable, "manage.py", *words],
        cwd=settings.BASE_DIR,
        env=inherited | {"DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "taptrading.settings"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def last_words(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
