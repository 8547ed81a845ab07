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

_SMALL: Final = 126
_LARGE: Final = 1 << 16
_SHORT_HEADERS: Final = tuple(bytes((0x81, size)) for size in range(_SMALL))


class Wire(Protocol):
    """A socket that takes finished frames."""

    on_writable: Callable[[], None] | None  # called when it takes frames again

    @property
    def takes_frames(self) -> bool:
        """False while an earlier write has not left the process, and after the end."""

    def write(self, frames: bytes) -> None: ...

    def abort(self) -> None:
        """End the connection now, whatever is still unsent."""


def wire_of(scope: Any) -> Wire | None:
    return cast(Wire | None, (scope.get("extensions") or {}).get(EXTENSION))


def text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < _SMALL:
        return _SHORT_HEADERS[size] + payload
    if size < _LARGE:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class WireProtocol(WebSocketsSansIOProtocol):
    """Keeps next to nothing for a slow reader in the process and little in the kernel: what waits
    elsewhere can still be replaced by something newer."""

    on_writable: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # A write is tried at once, and the protocol is told to pause when any of it is left.
        self.transport.set_write_buffer_limits(high=0)
        inner = transport.get_extra_info("socket")
        if inner is not None and inner.family in (socket.AF_INET, socket.AF_INET6):
            inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    async def run_asgi(self) -> None:
        extensions = cast(dict[str, Any], self.scope["extensions"])
        extensions[EXTENSION] = self
        await super().run_asgi()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    @property
    def takes_frames(self) -> bool:
        return self.writable.is_set() and not self.close_sent and not self.disconnected

    def write(self, frames: bytes) -> None:
        self.transport.write(frames)

    def abort(self) -> None:
        self.transport.abort()
