"""`make run`: prepares the data folder and keeps every part of the platform running."""

import asyncio
import os
import signal
import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from socket import socket
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from ops import preparing
from ops.backup import restore
from ops.child import die_with_parent
from ops.console import Console
from ops.lock import FolderLock
from ops.parts import platform_parts
from ops.supervisor import SUPERVISOR, Part, Supervisor
from taptrading.clock import US_PER_S, Clock
from taptrading.errors import TapTradingError
from taptrading.metrics import forget_process

_DEFAULT_URL: Final = "http://127.0.0.1:8000"


class Command(BaseCommand):
    help = "Run the whole platform under one supervisor; Ctrl-C stops it."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        environment = os.environ
        parser.add_argument("--host", default=environment.get("WEB_HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=environment.get("WEB_PORT", "8000"))
        parser.add_argument(
            "--stop-with-parent",
            action="store_true",
            help="stop when the program that started this one dies, as make may",
        )

    def handle(self, *, host: str, port: int, stop_with_parent: bool, **_: Any) -> None:
        if stop_with_parent and not die_with_parent(signal.SIGTERM, os.getppid()):
            raise CommandError("the program that started this one is gone")
        started_us = Clock().monotonic_us()
        lock = FolderLock(Path(settings.DATA_DIR) / "platform.lock")
        with ExitStack() as held:
            try:
                lock.take()
                restore.make_sure_it_is_whole()
                listeners = held.enter_context(
                    preparing.web_listeners(host, port, settings.WEB_WORKERS)
                )
                preparing.remove_stale_sockets()
                parts = self._prepare(listeners, _environment(host, port))
            except TapTradingError as problem:
                raise CommandError(str(problem)) from None
            except KeyboardInterrupt:
                raise CommandError("interrupted before anything was started") from None
            asyncio.run(_supervise(parts, host, port, started_us))

    def _prepare(self, listeners: list[socket], environment: dict[str, str]) -> list[Part]:
        preparing.allow_many_sockets()
        preparing.share_metrics()
        if preparing.migrate_if_due():
            self.stdout.write("tables: migrated")
        if preparing.collect_static_if_stale():
            self.stdout.write("static files: collected")
        parts = platform_parts(
            listeners=listeners,
            environment=environment,
            fund_house=settings.DEMO and not preparing.house_is_funded(),
        )
        # The supervisor itself reads no table again.
        connections.close_all()
        return parts


def _environment(host: str, port: int) -> dict[str, str]:
    """What signed texts name follows the port, unless the operator chose a name."""
    if "DOMAIN" in os.environ or settings.PRODUCTION:
        return {}
    return {"DOMAIN": _address(host, port)}


def _address(host: str, port: int) -> str:
    """How a browser on this machine names it."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    if ":" in reachable and not reachable.startswith("["):
        reachable = f"[{reachable}]"
    return f"{reachable}:{port}"


async def _supervise(parts: list[Part], host: str, port: int, started_us: int) -> None:
    clock = Clock()
    log_file = Path(settings.DATA_DIR) / "log" / "platform.log"
    sys.stdout.flush()
    console = Console(
        sys.stdout.fileno(),
        log_file,
        [SUPERVISOR, *(part.name for part in parts)],
        clock=clock,
        file_mib=settings.LOG_FILE_MIB,
        as_json=settings.LOG_FORMAT == "json",
    )

    known = {part.name: part for part in parts}
    told: set[str] = set()

    def tell(part: str, took_s: float) -> None:
        console.say(SUPERVISOR, f"{part} {_news(known[part], took_s)}")
        if part == "web" and part not in told:
            after_s = (clock.monotonic_us() - started_us) / US_PER_S
            console.banner(_banner(f"http://{_address(host, port)}", after_s, log_file))
        told.add(part)

    supervisor = Supervisor(
        parts,
        folder=settings.BASE_DIR,
        say=console.say,
        on_up=tell,
        on_end=forget_process,
        clock=clock,
    )
    supervisor.handle_signals()
    await supervisor.run()
    console.say(SUPERVISOR, "everything has stopped")
    console.close()


def _news(part: Part, took_s: float) -> str:
    """What is known when the supervisor says that a part came up, so long after its start."""
    if part.once:
        return f"is done ({took_s:.1f} s)"
    return "was started" if part.probe is None else f"is up ({took_s:.1f} s)"


def _banner(url: str, after_s: float, log_file: Path) -> list[str]:
    python = Path(sys.executable)
    here = Path.cwd()
    shown = python.relative_to(here) if python.is_relative_to(here) else python
    other = "" if url == _DEFAULT_URL else f" --url {url}"
    # What reads the platform's data has to be told where it is; a trader needs the address only.
    default = settings.DATA_DIR == settings.BASE_DIR / "var"
    where = "" if default else f"DATA_DIR={quote(str(settings.DATA_DIR))} "
    return [
        f"TapTrading is up after {after_s:.1f} s",
        "",
        f"  address                {url}",
        f"  watch a trader play    {shown} manage.py play --rounds 5{other}",
        f"  API documentation      {url}/api/docs",
        f"  administration         {url}/admin/   ({where}{shown} manage.py createsuperuser)",
        f"  health                 {url}/healthz",
        f"  log                    {log_file}",
        "",
        "  Ctrl-C stops everything.",
    ]
