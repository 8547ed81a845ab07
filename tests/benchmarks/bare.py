"""The least that answers a bet's request by ASGI: reads the body, replies with a bet's bytes."""

from typing import Any, Final

BODY: Final = b"x" * 400
HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-request-id", b"0123456789abcdef"),
    (b"ratelimit-limit", b"20"),
    (b"ratelimit-remaining", b"19"),
    (b"ratelimit-reset", b"1"),
]


async def application(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
