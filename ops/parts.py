"""The parts of the platform on one machine, in the order in which they start."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from socket import socket

from django.conf import settings

from ops import embedded, probes
from ops.supervisor import Part, Probe
from taptrading.limits import LIMITS


def platform_parts(
    *, listeners: Sequence[socket], environment: Mapping[str, str], fund_house: bool
) -> list[Part]:
    """Everything that `make run` keeps running, with a web part for each of `listeners`, bound to
    one address. Raises embedded.NoServer."""
    redis = [_valkey()] if settings.REDIS_EMBEDDED else []
    first = tuple(part.name for part in redis)
    web = [
        _web(number, listener, environment, after=first)
        for number, listener in enumerate(listeners, 1)
    ]
    later = (*first, "writer", *(part.name for part in web))
    parts = [
        *redis,
        _managed("writer", "run_writer", after=first, probe=_writer_accepts()),
        _managed("pricefeed", "run_pricefeed", after=first),
        *web,
        # The page comes first: these two cost the processor a second that a trader would wait.
        worker(after=later),
        beat(Path(settings.DATA_DIR) / "beat-schedule", after=later),
    ]
    if fund_house:
        parts.append(_managed("funding", "fund_demo_house", after=("writer",), once=True))
    return parts


_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def _valkey() -> Part:
    socket = Path(settings.VALKEY_SOCKET)
    return Part(
        "valkey",
        embedded.server_command(
            embedded.find_server(), socket=socket, folder=Path(settings.DATA_DIR) / "valkey"
        ),
        probe=probes.valkey_answers(socket),
    )


def _managed(
    name: str,
    command: str,
    *,
    after: tuple[str, ...],
    probe: Probe | None = None,
    once: bool = False,
) -> Part:
    return Part(name, (sys.executable, "manage.py", command), after=after, probe=probe, once=once)


def _writer_accepts() -> Probe:
    return probes.socket_accepts(Path(settings.WRITER_SOCKET))


def _web(
    number: int, listener: socket, environment: Mapping[str, str], after: tuple[str, ...]
) -> Part:
    options = {
        "--fd": str(listener.fileno()),
        "--loop": "uvloop",
        "--http": "taptrading.direct:DirectProtocol",
        "--ws": "taptrading.sockets:WireProtocol",
        "--ws-max-size": str(LIMITS.socket_frame_bytes),
        "--ws-max-queue": "32",
        # Ten small frames a second to each socket: compression costs more than it saves.
        "--ws-per-message-deflate": "false",
        "--backlog": "4096",
        "--timeout-keep-alive": "75",
        "--timeout-graceful-shutdown": "5",
        "--lifespan": "on",
        "--log-level": "warning",
    }
    # No proxy stands in front, so nobody may tell us another client address than its own.
    flags = ("--no-access-log", "--no-proxy-headers", "--no-server-header")
    words = tuple(word for pair in options.items() for word in pair)
    return Part(
        "web" if number == 1 else f"web-{number}",
        (sys.executable, "-m", "uvicorn", "taptrading.asgi:application", *words, *flags),
        environment={**_DJANGO, **environment},
        after=after,
        probe=probes.listens(listener),
        listener=listener,
    )


def worker(after: tuple[str, ...] = ()) -> Part:
    # Two threads may be taken by long work (ops/turns.py), two are there for the traders.
    return _celery("worker", after=after, words=("--pool=threads", "--concurrency=4", *_QUIET))


def beat(schedule: Path, after: tuple[str, ...] = ()) -> Part:
    """`schedule` is its file: two beats need two."""
    return _celery("beat", after=after, words=(f"--schedule={schedule}", "--pidfile="))


def _celery(name: str, *, after: tuple[str, ...], words: tuple[str, ...]) -> Part:
    command = (sys.executable, "-m", "celery", "-A", "taptrading", "--quiet", name)
    return Part(name, (*command, "--loglevel=WARNING", *words), environment=_DJANGO, after=after)


_DJANGO = {"DJANGO_SETTINGS_MODULE": "taptrading.settings"}
