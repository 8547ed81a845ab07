"""Is it up? Each question is answered at once or within a second, and never by an error."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ops.supervisor import Probe

_BOUND_S: Final = 1.0
_Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


def valkey_answers(path: Path) -> Probe:
    """It says PONG: while it loads its file it answers LOADING instead."""

    async def probe() -> bool:
        return await _ask_unix(path, b"PING\r\n") == b"+PONG\r\n"

    return probe


def socket_accepts(path: Path) -> Probe:
    """Somebody listens on this Unix socket."""

    async def probe() -> bool:
        return await _ask_unix(path, b"") is not None

    return probe


def http_answers(host: str, port: int, path: str) -> Probe:
    """GET `path` gets an answer that is no server error."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"

    async def probe() -> bool:
        status_line = await _ask(lambda: asyncio.open_connection(host, port), request.encode())
        words = (status_line or b"").split()
        return len(words) > 1 and words[1].isdigit() and int(words[1]) < 500

    return probe


async def _ask_unix(path: Path, request: bytes) -> bytes | None:
    return await _ask(lambda: asyncio.open_unix_connection(path), request)


async def _ask(connect: _Connect, request: bytes) -> bytes | None:
    """The first line of the answer, empty if nothing was asked; None: nobody is there."""
    try:
        async with asyncio.timeout(_BOUND_S):
            reader, writer = await connect()
            try:
                writer.write(request)
                return await reader.readline() if request else b""
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
