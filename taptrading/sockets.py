"""uvicorn's WebSocket protocol with a way past ASGI for frames that are ready to go.

One index tick goes to thousands of sockets at once, and of the cost of an ASGI `send` only the
write itself is needed. The protocol puts itself into the scope as an extension; whoever finds no
such extension there (tests, another server) sends by ASGI and nothing else changes.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

EXTENSION: Final = "taptrading.wire"
UNSENT_BYTES: Final = 16 * 1024

_START: Final = b'{"seq":'
_SMALL: Final = 126 - len(_START)
_LARGE: Final = 1 << 16
_SHORT_STARTS: Final = tuple(bytes((0x81, size + len(_START))) + _START for size in range(_SMALL))


class Wire(Protocol):
    """A socket that takes finished frames through `write`, except while an earlier write has not
    left the process, and after the end: `on_change` hears when it stops taking them and when it
    takes them again."""

    write: Callable[[bytes], None]
    on_change: Callable[[bool], None] | None

    def abort(self) -> None:
        """End the connection now, whatever is still unsent."""


def wire_of(scope: Any) -> Wire | None:
    return cast(Wire | None, (scope.get("extensions") or {}).get(EXTENSION))


def numbered_frame(seq: int, tail: bytes) -> bytes:
    """The text frame of `{"seq":<seq>` and `tail`: unmasked and whole (RFC 6455, section 5.2)."""
    digits = b"%d" % seq
    size = len(digits) + len(tail)
    if size < _SMALL:
        return _SHORT_STARTS[size] + digits + tail
    return b"".join((_long_start(size), digits, tail))


def _long_start(size: int) -> bytes:
    size += len(_START)
    if size < _LARGE:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), _START)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), _START)


class WireProtocol(WebSocketsSansIOProtocol):
    """Keeps next to nothing for a slow reader in the process and little in the kernel: what waits
    elsewhere can still be replaced by something newer."""

    write: Callable[[bytes], None]
    on_change: Callable[[bool], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # A write is tried at once, and the protocol is told to pause when any of it is left.
        self.transport.set_write_buffer_limits(high=0)
        self.write = self.transport.write
        inner = transport.get_extra_info("socket")
        if inner is not None and inner.family in (socket.AF_INET, socket.AF_INET6):
            inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    async def run_asgi(self) -> None:
        extensions = cast(dict[str, Any], self.scope["extensions"])
        extensions[EXTENSION] = self
        await super().run_asgi()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._changed(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._changed(not self.disconnected)

    def connection_lost(self, exc: Exception | None) -> None:
        self._changed(False)
        super().connection_lost(exc)

    def _changed(self, takes_frames: bool) -> None:
        if self.on_change is not None:
            self.on_change(takes_frames)

    def abort(self) -> None:
        self.transport.abort()
