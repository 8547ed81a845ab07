"""Replies of the small ASGI applications in front of Django, in the contract's form.

Knows no app: a handler returns a `Reply`, and `answer` sends it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec

from taptrading.api import RETRY_AFTER_S, error_body, new_request_id
from taptrading.errors import Refusal

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

NO_STORE: Final = (b"cache-control", b"no-store")
_JSON: Final = (b"content-type", b"application/json")

encode: Final = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (NO_STORE,)


def header(scope: Scope, name: bytes) -> str:
    """The first header of that (lower-case) name, or nothing."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def request_id(scope: Scope) -> str:
    return new_request_id(header(scope, b"x-request-id"))


def refused(refusal: Refusal, request_id: str, *headers: tuple[bytes, bytes]) -> Reply:
    body = encode(error_body(refusal, request_id))
    extra: Headers = [NO_STORE, *headers]
    if refusal.status in (429, 503):
        pause_s = refusal.detail.get("retry_after_s", RETRY_AFTER_S)
        extra.append((b"retry-after", str(pause_s).encode()))
    return Reply(refusal.status, body, tuple(extra))


async def answer(scope: Scope, send: Send, reply: Reply, request_id: str) -> None:
    """Send it; to HEAD without its body."""
    headers: Headers = [
        *([_JSON] if reply.body else []),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", request_id.encode()),
        *reply.headers,
    ]
    if reply.status == 304:
        del headers[0]  # as if it had a length of 0
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body})
