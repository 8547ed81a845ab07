"""The archive's commands as processes of their own: they need a processor for minutes, at low
priority, and the worker has bets to settle."""

import logging
import os
import subprocess
import sys
from typing import Final

from django.conf import settings

from ops.archive import status

log = logging.getLogger(__name__)

PATIENCE_S: Final = 12 * 3_600


def run(command: str, *words: str) -> bool:
    """Whether `manage.py command` ended well; what it said is in the log."""
    done = subprocess.run(  # noqa: S603
        ["nice", "-n", "10", sys.executable, "manage.py", command, *words],  # noqa: S607
        cwd=settings.BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "taptrading.settings"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    status.tell()
    if done.returncode == 0:
        log.info("action=%s %s", command, done.stdout.strip())
        return True
    last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
    log.error("action=%s ended with %d: %s", command, done.returncode, last[0])
    return False
