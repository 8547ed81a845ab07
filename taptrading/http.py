"""Requests and replies of the small ASGI applications that stand in front of Django."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from taptrading.api import error_body, new_request_id
from taptrading.errors import ApiError, Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]
Headers = list[tuple[bytes, bytes]]

RETRY_AFTER_S: Final = 1
encode: Final = msgspec.json.Encoder().encode


def request_id(scope: Scope) -> str:
    """The client's own id if it is a sane one, else a fresh one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return new_request_id(value.decode("latin-1"))
    return new_request_id()


def client_address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


async def read_body(receive: Receive, limit_bytes: int) -> bytes:
    """The whole body. Raises ApiError: too_large, or invalid_request when the client leaves."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ApiError("invalid_request", "The client left before the body was complete.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise ApiError("too_large", limit_bytes=limit_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def within(limit_bytes: int, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """`app`, which reads the whole body before it replies, on bodies of so many bytes at most.

    A longer one is refused at once if it says so, and else when it has grown too long: the
    application hears then that the client left.
    """
    if _announced_bytes(scope) > limit_bytes:
        await refuse(send, Refusal("too_large", {"limit_bytes": limit_bytes}), request_id(scope))
        return
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return message if size <= limit_bytes else {"type": "http.disconnect"}

    await app(scope, counted, send)
    if size > limit_bytes:
        await refuse(send, Refusal("too_large", {"limit_bytes": limit_bytes}), request_id(scope))


def _announced_bytes(scope: Scope) -> int:
    """Zero where nothing is announced: then the bytes are counted as they come."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def reply(
    send: Send, status: int, body: bytes, request_id: str, headers: Headers | None = None
) -> None:
    """A JSON reply that nobody caches."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                (b"x-request-id", request_id.encode()),
                *(headers or ()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def refuse(
    send: Send, refusal: Refusal, request_id: str, headers: Headers | None = None
) -> None:
    """The contract's error body, with Retry-After where it belongs."""
    extra = list(headers or ())
    if refusal.status in (429, 503):
        extra.append((b"retry-after", str(retry_after_s(refusal)).encode()))
    await reply(send, refusal.status, encode(error_body(refusal, request_id)), request_id, extra)


def retry_after_s(refusal: Refusal) -> int:
    """Whole seconds, at least one."""
    wait_ms = refusal.detail.get("retry_after_ms", 0)
    return max(RETRY_AFTER_S, -(-int(wait_ms) // 1_000))
