"""Requests and replies of the small ASGI applications that stand in front of Django."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec
from django.db import Error as DatabaseError

from taptrading.api import error_body, new_request_id
from taptrading.errors import ApiError, DependencyError, Refusal

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]
Headers = list[tuple[bytes, bytes]]

RETRY_AFTER_S: Final = 1
# What every JSON reply begins with, where it is written as it is; takes the request id.
PLAIN_HEAD: Final = (
    b"content-type: application/json\r\ncache-control: no-store\r\n"
    b"x-content-type-options: nosniff\r\nx-request-id: %b\r\n"
)
encode: Final = msgspec.json.Encoder().encode


def request_id(scope: Scope) -> str:
    return id_of(inbound_id(scope["headers"]))


def inbound_id(headers: Headers) -> bytes:
    """The client's own, as it came; empty without one."""
    for name, value in headers:
        if name == b"x-request-id":
            return value
    return b""


def id_of(inbound: bytes) -> str:
    """The client's own id if it is a sane one, else a fresh one."""
    return new_request_id(inbound.decode("latin-1"))


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
    """`app` on bodies of so many bytes at most, each of an announced length.

    Django takes a request that announces none for one without a body, so such a body is read
    here first: whole, if it is not too long.
    """
    announced = _announced_bytes(scope)
    try:
        if announced is None:
            body = await read_body(receive, limit_bytes)
            scope, receive = _announcing(scope, len(body)), _replaying(body, receive)
        elif announced > limit_bytes:
            raise ApiError("too_large", limit_bytes=limit_bytes)
    except ApiError as error:
        await refuse(send, error.refusal, request_id(scope))
        return
    await app(scope, receive, send)


_FRAMING: Final = (b"content-length", b"transfer-encoding")


def _announced_bytes(scope: Scope) -> int | None:
    """None when the body comes in chunks: its length shows at its end."""
    framing = {name: value for name, value in scope["headers"] if name in _FRAMING}
    length = framing.get(b"content-length", b"")
    return int(length) if length.isdigit() and b"transfer-encoding" not in framing else None


def _announcing(scope: Scope, size: int) -> Scope:
    headers = [header for header in scope["headers"] if header[0] not in _FRAMING]
    return {**scope, "headers": [*headers, (b"content-length", str(size).encode())]}


def _replaying(body: bytes, receive: Receive) -> Receive:
    """`receive`, with the body that was read from it put back in front."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return unread.pop() if unread else await receive()

    return replayed


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


def refuse_failure(error: Exception, request_id: str) -> tuple[int, bytes, Headers]:
    """Status, body and extra headers after an error that nobody foresaw: it is logged, and the
    client gets no more than the contract's body."""
    if isinstance(error, DependencyError | DatabaseError):
        logger.warning("request %s: %s", request_id, error)
        refusal = Refusal("dependency_unavailable")
        retry_after = (b"retry-after", str(RETRY_AFTER_S).encode())
        return refusal.status, encode(error_body(refusal, request_id)), [retry_after]
    logger.error("request %s failed", request_id, exc_info=error)
    body = {
        "error": "internal_error",
        "message": "Something went wrong on our side: quote the request id to support.",
        "detail": {},
        "request_id": request_id,
    }
    return 500, encode(body), []


def retry_after_s(refusal: Refusal) -> int:
    """Whole seconds, at least one."""
    wait_ms = refusal.detail.get("retry_after_ms", 0)
    return max(RETRY_AFTER_S, -(-int(wait_ms) // 1_000))
