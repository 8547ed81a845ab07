"""Which code runs, on what. Read once: neither changes while a process lives."""

import os
import platform
import sqlite3
import subprocess
import tomllib
from functools import cache

import django
from django.conf import settings

UNKNOWN = "unknown"


@cache
def version() -> dict[str, str]:
    """`/version` of the contract."""
    return {
        "version": _project_version(),
        "commit": os.environ.get("COMMIT") or _git_commit(),
        "python": platform.python_version(),
        "django": django.get_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _project_version() -> str:
    try:
        with (settings.BASE_DIR / "pyproject.toml").open("rb") as file:
            found: str = tomllib.load(file)["project"]["version"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return UNKNOWN
    return found


def _git_commit() -> str:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607
            cwd=settings.BASE_DIR,
            capture_output=True,
            check=True,
            text=True,
            timeout=2,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return found.stdout.strip()
