"""The daily check: `verify_ledger` in a process of its own, at low priority, and its verdict as
metrics. What it finds wakes somebody up (LedgerDrift)."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from prometheus_client import Gauge

from ops.integrity.checks import CLAIMS
from ops.lock import AlreadyRunning, FolderLock
from taptrading import clock

log = logging.getLogger(__name__)

PATIENCE_S: Final = 3_600
_VERDICTS: Final = (0, 1)  # exit codes: clean, something found

FINDINGS: Final = Gauge(
    "ledger_findings",
    "What the last integrity check found, by check",
    ["check"],
    multiprocess_mode="mostrecent",
)
CHECKED_AT: Final = Gauge(
    "last_successful_integrity_check_timestamp",
    "When an integrity check last ran to its end, whatever it found",
    multiprocess_mode="mostrecent",
)
TOOK_S: Final = Gauge(
    "integrity_check_seconds", "Time of the last integrity check", multiprocess_mode="mostrecent"
)


class CouldNotRun(Exception):
    """The check did not come to a verdict."""


def check() -> dict[str, Any] | None:
    """The report as `verify_ledger --json` gives it; None if a check is running already. Raises
    CouldNotRun."""
    lock = FolderLock(Path(settings.RUN_DIR) / "integrity.lock")
    try:
        lock.take()
    except AlreadyRunning:
        return None
    try:
        report = _run()
    finally:
        lock.release()
    _publish(report)
    return report


def _run() -> dict[str, Any]:
    # Of its own process: it needs a processor for a minute, and a crash of it harms nobody.
    command = [sys.executable, "manage.py", "verify_ledger", "--json", "--jobs", "1"]
    child = subprocess.Popen(  # noqa: S603
        ["nice", "-n", "10", *command],  # noqa: S607
        cwd=settings.BASE_DIR,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told, errors = child.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise CouldNotRun(f"no verdict after {PATIENCE_S} s") from None
    finally:
        child.kill()
        child.wait()
    if child.returncode not in _VERDICTS:
        raise CouldNotRun(errors.strip().splitlines()[-1] if errors.strip() else "no reason given")
    report: dict[str, Any] = json.loads(told)
    return report


def _environment() -> dict[str, str]:
    """Ours, but that what the check counts is not the platform's."""
    inherited = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    return inherited | {"DJANGO_SETTINGS_MODULE": "taptrading.settings"}


def _publish(report: dict[str, Any]) -> None:
    for name in CLAIMS:
        FINDINGS.labels(name).set(report["checks"].get(name, 0))
    CHECKED_AT.set(clock.now_us() / clock.US_PER_S)
    TOOK_S.set(report["took_s"])
    if report["clean"]:
        log.info("action=integrity_check clean took_s=%.1f", report["took_s"])
        return
    wrong = {name: count for name, count in report["checks"].items() if count}
    log.critical("action=integrity_check WRONG %s first=%s", wrong, report["examples"][:3])
