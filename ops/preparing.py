"""What has to be true before the parts start: ports free, tables and static files current."""

import contextlib
import hashlib
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from taptrading.errors import TapTradingError
from wallet.models import LedgerEntry


class PortTaken(TapTradingError):
    """Another program listens on the port of the web part."""


@contextlib.contextmanager
def web_listeners(host: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    """A bound socket for each web part: whoever of them listens gets an equal share of the new
    connections from the kernel. Raises PortTaken."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(_claim(host, port))
            made = [
                held.enter_context(_bound(host, port, socket.SO_REUSEPORT)) for _ in range(count)
            ]
            for listener in made:
                # Connections inherit it: uvicorn takes a socket that it is handed for a Unix one,
                # on whose connections nobody turns off the wait for a fuller packet.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as problem:
            raise PortTaken(
                f"cannot listen on {host}:{port} ({problem.strerror}): stop the program that"
                " does, or choose another port with WEB_PORT"
            ) from None
        yield made


def _claim(host: str, port: int) -> socket.socket:
    """Raises OSError if another program has the address. The kernel would let a platform of the
    same user share it: one whose web parts listen is found by asking for the address alone, one
    that is still starting by the name that each holds."""
    with _bound(host, port) as trial:
        trial.listen(1)
    name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name.bind(f"\0taptrading {host}:{port}")
    except OSError:
        name.close()
        raise
    return name


def _bound(host: str, port: int, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def remove_stale_sockets() -> None:
    """Left behind by a platform that was killed. Only for the holder of the folder's lock."""
    for path in (settings.WRITER_SOCKET, settings.VALKEY_SOCKET):
        Path(path).unlink(missing_ok=True)


def share_metrics() -> None:
    """Let every process that is started from here count in files of one folder, which whoever
    is asked for the metrics adds up. What processes of an earlier run counted is over."""
    folder = Path(settings.DATA_DIR) / "run" / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def migrate_if_due() -> bool:
    """True if there was something to migrate."""
    due = any(_is_due(connection) for connection in connections.all())
    if due:
        call_command("migrate", interactive=False, verbosity=0)
    return due


def _is_due(connection: BaseDatabaseWrapper) -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def collect_static_if_stale() -> bool:
    """True if the served files were not those of the sources, and now are."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    current = _static_fingerprint()
    with contextlib.suppress(FileNotFoundError):
        if stamp.read_text() == current:
            return False
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(current)
    return True


def house_is_funded() -> bool:
    return LedgerEntry.objects.filter(kind=LedgerEntry.Kind.FUNDING).exists()


def allow_many_sockets() -> None:
    """As many descriptors as this user may have: every trader's socket is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _static_fingerprint() -> str:
    """Changes when a source file comes, goes, grows or is written."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in sorted(finder.list([]), key=lambda found: str(found[0])):
            found = os.stat(storage.path(name))
            digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
