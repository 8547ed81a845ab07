"""The small ASGI application of GET config, status, price, prices and grid.

Answered from this process's memory, without Django; only `prices` reads the database, in a
thread and once a tick. Nothing here changes anything.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlencode

from django.conf import settings
from django.db import Error as DatabaseError

from bets.candles import Moment, Pages, Span
from bets.quotes import quotes
from pricefeed.board import board
from taptrading import clock, http
from taptrading.api import error_body
from taptrading.errors import ApiError, Refusal
from taptrading.http import Receive, Scope, Send, encode
from taptrading.limits import LIMITS, PRESETS_MICROS
from taptrading.rfc3339 import parse_us

logger = logging.getLogger(__name__)

STEP_MAX_S: Final = 86_400
PAGE_MAX_S: Final = 86_400  # the ticks of a page are those of a day at most: it may be short
_NO_STORE: Final = (b"cache-control", b"no-store")
_ALLOW: Final = (b"allow", b"GET, HEAD, OPTIONS")

pages: Final = Pages()


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (_NO_STORE,)


def config_json() -> dict[str, Any]:
    return {
        "domain": settings.DOMAIN,
        "chain_id": settings.CHAIN_ID,
        "version": 1,
        "presets_micros": list(PRESETS_MICROS),
        "column_s": LIMITS.column_s,
        "band_cents": LIMITS.band_cents,
        "columns": LIMITS.columns,
        "bands": LIMITS.bands,
        "locked_columns": LIMITS.locked_columns,
        "edge_bps": LIMITS.edge_bps,
        "index_hz": LIMITS.index_hz,
        "pricing_delay_ms": LIMITS.pricing_delay_ms,
        "rate_max_bps": LIMITS.rate_max_bps,
        "demo": settings.DEMO,
    }


async def get_config(scope: Scope) -> Reply:
    reply, unchanged = _config(settings.DOMAIN, settings.CHAIN_ID, settings.DEMO)
    return unchanged if (b"if-none-match", reply.headers[0][1]) in scope["headers"] else reply


@lru_cache(maxsize=1)
def _config(*_: object) -> tuple[Reply, Reply]:
    """With a body, and without one for who has it. Depends on these settings; LIMITS are fixed."""
    body = encode(config_json())
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = ((b"etag", tag.encode()), (b"cache-control", b"no-cache"))
    return Reply(200, body, headers), Reply(304, b"", headers)


async def get_status(scope: Scope) -> Reply:
    return Reply(200, encode(board.status_json(clock.now_us())))


async def get_price(scope: Scope) -> Reply:
    """Raises ApiError (price_stale) before the first tick."""
    price = board.price_json(clock.now_ms())
    if price is None:
        raise ApiError("price_stale", "There is no price yet.")
    return Reply(200, encode(price))


async def get_grid(scope: Scope) -> Reply:
    return Reply(200, quotes.grid_bytes(clock.now_us()))


async def get_prices(scope: Scope) -> Reply:
    """Raises ApiError (invalid_request)."""
    given = _single_values(scope["query_string"])
    now_us = clock.now_us()
    tick = board.tick.seq if board.tick else 0
    page = await pages.page(_span(given, now_us), Moment(tick, now_us // clock.US_PER_S))
    next_url = None
    if page.older_before is not None:
        next_url = f"{scope['path']}?{urlencode({**given, 'to': page.older_before})}"
    return Reply(200, b'{"results":%b,"next":%b}' % (page.results, encode(next_url)))


def _span(given: dict[str, str], now_us: int) -> Span:
    """Raises ApiError (invalid_request)."""
    step_s = _int(given, "step_s", STEP_MAX_S, LIMITS.column_s)
    limit = _int(given, "limit", LIMITS.page_max, LIMITS.page_default)
    return Span(
        from_us=_instant_us(given, "from", 0),
        to_us=_instant_us(given, "to", now_us),
        step_s=step_s,
        limit=min(limit, PAGE_MAX_S // step_s),
    )


def _single_values(query_string: bytes) -> dict[str, str]:
    try:
        values = parse_qs(
            query_string.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict"
        )
    except ValueError:
        raise ApiError("invalid_request", "The query cannot be read.") from None
    for name, given in values.items():
        if len(given) > 1:
            raise ApiError("invalid_request", f"`{name}` stands more than once.")
    return {name: given[0] for name, given in values.items()}


def _int(given: dict[str, str], name: str, most: int, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= most:
        return int(text)
    raise _invalid(name, f"An integer in 1 … {most}.")


def _instant_us(given: dict[str, str], name: str, default_us: int) -> int:
    text = given.get(name)
    if text is None:
        return default_us
    found_us = parse_us(text)
    if found_us is None:
        raise _invalid(name, "A time is RFC 3339 with an offset.")
    return found_us


def _invalid(name: str, sentence: str) -> ApiError:
    return ApiError("invalid_request", fields={name: [sentence]})


Handler = Callable[[Scope], Awaitable[Reply]]

ROUTES: Final[dict[str, Handler]] = {
    "/api/v1/config": get_config,
    "/api/v1/status": get_status,
    "/api/v1/price": get_price,
    "/api/v1/prices": get_prices,
    "/api/v1/grid": get_grid,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`scope["path"]` is one of ROUTES, with or without a slash at its end."""
    id = http.request_id(scope)
    reply = await _reply(scope, ROUTES[scope["path"].removesuffix("/")], id)
    headers = [(b"x-request-id", id.encode()), *reply.headers]
    if reply.body:
        headers.append((b"content-type", b"application/json"))
        headers.append((b"x-content-type-options", b"nosniff"))
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body})


async def _reply(scope: Scope, handler: Handler, id: str) -> Reply:
    if scope["method"] == "OPTIONS":
        return Reply(204, b"", (_ALLOW, _NO_STORE))
    if scope["method"] not in ("GET", "HEAD"):
        return _refused(Refusal("method_not_allowed"), id, _ALLOW)
    try:
        return await handler(scope)
    except ApiError as error:
        return _refused(error.refusal, id)
    except DatabaseError as error:
        logger.warning("request %s: %s", id, error)
        return _refused(Refusal("dependency_unavailable"), id)


def _refused(refusal: Refusal, id: str, *headers: tuple[bytes, bytes]) -> Reply:
    if refusal.status in (429, 503):
        headers = (*headers, (b"retry-after", b"%d" % http.retry_after_s(refusal)))
    return Reply(refusal.status, encode(error_body(refusal, id)), (_NO_STORE, *headers))
