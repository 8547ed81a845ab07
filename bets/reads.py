"""The small ASGI application of GET config, status, price, prices and grid.

Answered from this process's memory, without Django; only `prices` reads the database, in a
thread. Nothing here changes anything.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlencode

from django.conf import settings
from django.db import Error as DatabaseError

from bets.quotes import quotes
from pricefeed import recorder
from pricefeed.board import board
from taptrading import clock, http
from taptrading.api import error_body
from taptrading.errors import ApiError, Refusal
from taptrading.http import Receive, Scope, Send, encode
from taptrading.limits import LIMITS, PRESETS_MICROS
from taptrading.rfc3339 import parse_us
from taptrading.threads import in_thread

logger = logging.getLogger(__name__)

STEP_MAX_S: Final = 86_400
PAGE_MAX_S: Final = 86_400  # the ticks of a page are those of a day at most: it may be short
_NO_STORE: Final = (b"cache-control", b"no-store")
_ALLOW: Final = (b"allow", b"GET, HEAD, OPTIONS")


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
    body = encode(config_json())
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = ((b"etag", tag.encode()), (b"cache-control", b"no-cache"))
    if (b"if-none-match", tag.encode()) in scope["headers"]:
        return Reply(304, b"", headers)
    return Reply(200, body, headers)


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
    query = PricesQuery.of(given, clock.now_us())
    candles, has_older = await in_thread(recorder.ohlc, *query)
    results = [
        {
            "at": clock.iso_ms(candle.at_us),
            "open_cents": candle.open_cents,
            "low_cents": candle.low_cents,
            "high_cents": candle.high_cents,
            "close_cents": candle.close_cents,
        }
        for candle in candles
    ]
    older = urlencode({**given, "to": results[-1]["at"]}) if has_older else None
    next_url = older and f"{scope['path']}?{older}"
    return Reply(200, encode({"results": results, "next": next_url}))


class PricesQuery(NamedTuple):
    """The newest `limit` steps that begin at or after `from`, before `to`."""

    from_us: int
    to_us: int
    step_s: int
    limit: int

    @classmethod
    def of(cls, given: dict[str, str], now_us: int) -> "PricesQuery":
        """Raises ApiError (invalid_request)."""
        step_s = _int(given, "step_s", STEP_MAX_S, LIMITS.column_s)
        limit = _int(given, "limit", LIMITS.page_max, LIMITS.page_default)
        return cls(
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
