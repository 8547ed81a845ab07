"""The web process: small ASGI applications in front of Django, which answers everything else.

The busiest paths never enter Django. Also here: what starts and stops with the process.
"""

import asyncio
import logging
import os
import signal
import threading
from types import FrameType
from typing import Final

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taptrading.settings")
django.setup()  # stands before what needs the apps

import taptrading.celery  # noqa: E402, F401  # shared tasks find their app
from bets import endpoint, reads  # noqa: E402
from bets.live import live  # noqa: E402
from bets.own_reads import own_reads  # noqa: E402
from taptrading import collector, http, logs, native, vitals  # noqa: E402
from taptrading.direct import HANDLERS  # noqa: E402
from taptrading.django_threads import ThreadedDjango  # noqa: E402
from taptrading.errors import Refusal  # noqa: E402
from taptrading.http import App, Receive, Scope, Send  # noqa: E402
from taptrading.limits import LIMITS  # noqa: E402
from taptrading.metrics import UNROUTED, Seen  # noqa: E402
from taptrading.routing import websocket  # noqa: E402
from wallet import link  # noqa: E402

logger = logging.getLogger(__name__)

GOODBYE_S: Final = 0.3
django_app: Final = ThreadedDjango()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        app = _ROUTES.get(scope["path"])
        seen = Seen(scope, send, UNROUTED if app is None else scope["path"].removesuffix("/"))
        try:
            if app is None:
                await _django(scope, receive, seen)
            else:
                await _guarded(app, scope, receive, seen)
        finally:
            seen.count()
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await _lifespan(receive, send)


# Over HTTP.


async def _django(scope: Scope, receive: Receive, send: Send) -> None:
    """Django spools a body of any length to disk before a view looks at it, and it has none of
    the resources that take more than the usual 16 KiB."""
    if await own_reads.answered(scope, send):
        return
    admin = scope["path"].startswith("/admin/")
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE if admin else LIMITS.body_bytes
    await http.within(limit, django_app, scope, receive, send)


async def _guarded(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Whatever goes wrong, the client gets the contract's error body. These applications reply
    in one go at their end, so none has begun when it fails."""
    logs.request_id.set(http.request_id(scope))
    try:
        await app(scope, receive, send)
    except Exception as error:
        request_id = http.request_id(scope)
        status, body, headers = http.refuse_failure(error, request_id)
        await http.reply(send, status, body, request_id, headers)


def _bets(allow: str, app: App) -> App:
    """POST goes to the endpoint; GET, where `allow` names it, to Django's list."""

    async def bets(scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "POST":
            await app(scope, receive, send)
        elif method in ("GET", "HEAD") and method in allow:
            await _django(scope, receive, send)
        else:
            headers = [(b"allow", allow.encode())]
            request_id = http.request_id(scope)
            if method == "OPTIONS":
                await http.reply(send, 200, b"{}", request_id, headers)
            else:
                await http.refuse(send, Refusal("method_not_allowed"), request_id, headers)

    return bets


def _constant(body: bytes) -> App:
    async def constant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD"):
            sent = body if scope["method"] == "GET" else b""
            await http.reply(send, 200, sent, http.request_id(scope))
        else:
            await _django(scope, receive, send)

    return constant


def _routes() -> dict[str, App]:
    """A slash at the end is optional."""
    routes: dict[str, App] = {
        "/api/v1/bets": _bets("GET, HEAD, POST, OPTIONS", endpoint.app),
        "/api/v1/bets/batch": _bets("POST, OPTIONS", endpoint.app),
        "/api/v1/bets/check": _bets("POST, OPTIONS", endpoint.app),
        "/health": _constant(b'{"status":"ok"}'),
        "/health/liveness": _constant(b'{"alive":true}'),
        **dict.fromkeys(reads.ROUTES, reads.app),
    }
    return routes | {f"{path}/": app for path, app in routes.items()}


_ROUTES: Final = _routes()
HANDLERS.update(dict.fromkeys((b"/api/v1/bets", b"/api/v1/bets/"), endpoint.place_directly))


# With the process.

_pulse: asyncio.Task[None] | None = None


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        try:
            await _start()
        except Exception as error:
            logger.exception("the web process cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
    await _stop()
    await send({"type": "lifespan.shutdown.complete"})


async def _start() -> None:
    global _pulse
    link.start()
    await live.start()
    logger.info("bets are read %s", "in Python" if native.fast is None else "by compiled code")
    _pulse = asyncio.create_task(vitals.pulse("web"), name="pulse")
    collector.spare()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            _say_goodbye_first(number, asyncio.get_running_loop())


async def _stop() -> None:
    await live.stop()
    await link.current().stop()
    if _pulse is not None:
        _pulse.cancel()


def _say_goodbye_first(number: int, loop: asyncio.AbstractEventLoop) -> None:
    """The server closes its sockets before it ends the lifespan, so they are told when to come
    back as the signal arrives, and the server hears of it a moment later. A bet that comes in
    that moment is told to come back too; those that came before are answered."""
    server_stops = signal.getsignal(number)
    if not callable(server_stops):
        return
    said = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if said.is_set():  # a second signal is in a hurry
            server_stops(number, frame)
            return
        said.set()
        loop.call_soon_threadsafe(live.goodbye)
        loop.call_soon_threadsafe(link.current().finish)
        loop.call_soon_threadsafe(loop.call_later, GOODBYE_S, server_stops, number, None)

    signal.signal(number, stop)
