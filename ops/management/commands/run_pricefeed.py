"""The price feed process: sources in, ticks recorded and published, columns rung."""

import asyncio
import logging
import signal
from typing import Any

from celery.app.utils import find_app
from django.core.management.base import BaseCommand

from pricefeed import assembly

log = logging.getLogger(__name__)

_TASK = "bets.settle_due_columns"
_EXPIRES_S = 5


def ask_for_settlement(column_start: int) -> None:
    """Ask the workers to settle now. With the broker down that is logged: beat asks as well."""
    try:
        find_app("taptrading.celery").send_task(_TASK, expires=_EXPIRES_S, ignore_result=True)
    except Exception as error:
        log.warning("action=ask_for_settlement column_start=%d failed why=%s", column_start, error)


async def run() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await assembly.run(stop, [ask_for_settlement])


class Command(BaseCommand):
    help = "Run the price feed until SIGTERM or SIGINT."
    requires_system_checks = []

    def handle(self, **_: Any) -> None:
        asyncio.run(run())
