"""Is it up? Each question is answered at once or within a second, and never by an error."""

import asyncio
import socket
from pathlib import Path
from typing import Final

from ops.supervisor import Probe

_BOUND_S: Final = 1.0


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


def listens(listener: socket.socket) -> Probe:
    """The program that was handed this socket listens on it. Where several share an address, a
    connection would be answered by any of them; a server listens once its application is up."""

    async def probe() -> bool:
        return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    return probe


async def _ask_unix(path: Path, request: bytes) -> bytes | None:
    """The first line of the answer, empty if nothing was asked; None: nobody is there."""
    try:
        async with asyncio.timeout(_BOUND_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(request)
                return await reader.readline() if request else b""
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
