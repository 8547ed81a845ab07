"""The api workers of production: REST, admin and page by WSGI, in processes of their own."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand

from taptrading.limits import LIMITS

# A few: what changes something waits for the writer, and the others should not wait with it.
THREADS: Final = 4
_STOP_S: Final = LIMITS.writer_batch_ms // 1_000 + 2


def command(host: str, port: int, workers: int) -> list[str]:
    options = {
        "--interface": "wsgi",
        "--host": host,
        "--port": str(port),
        "--workers": str(workers),
        "--blocking-threads": str(THREADS),
        "--http": "1",
        "--log-level": "warning",
        "--workers-kill-timeout": str(_STOP_S),
    }
    words = [word for pair in options.items() for word in pair]
    flags = ["--no-ws", "--respawn-failed-workers"]
    return [sys.executable, "-m", "granian", *words, *flags, "taptrading.wsgi:application"]


def _count_with_the_platform() -> None:
    """Beside a platform on the same data folder, its figures and ours are one: what `/metrics` and
    the operations page show here is of all its processes."""
    folder = Path(settings.DATA_DIR) / "run" / "metrics"
    if folder.is_dir():
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(folder))


class Command(BaseCommand):
    help = (
        "Run the WSGI workers until SIGTERM or SIGINT. They need the platform's writer and Redis."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=os.environ.get("API_HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=os.environ.get("API_PORT", "8001"))
        parser.add_argument("--workers", type=int, default=os.environ.get("API_WORKERS", "2"))

    def handle(self, *, host: str, port: int, workers: int, **_: Any) -> None:
        _count_with_the_platform()
        words = command(host, port, workers)
        os.execv(words[0], words)  # noqa: S606
