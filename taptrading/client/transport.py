"""One HTTP request, sent as often as it is safe to, and its answer as a type or an error.

The platform's time comes from the platform: this program's own clock is nobody's authority.
"""

import enum
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import httpx
import msgspec

from taptrading.client.errors import ApiError, BadReply, OutcomeUnknown, Unreachable

T = TypeVar("T")

API: Final = "/api/v1/"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def monotonic_us() -> int:
    return time.monotonic_ns() // 1_000


class ServerClock:
    """The platform's time: what it last said, carried on by this machine's monotonic clock."""

    def __init__(self, local_us: Callable[[], int] = monotonic_us) -> None:
        self._local_us = local_us
        self._seen: tuple[int, int] | None = None  # local, server; replaced whole

    def observe(self, server_time: datetime) -> None:
        server_us = (server_time - EPOCH) // timedelta(microseconds=1)
        self._seen = (self._local_us(), server_us)

    def age_us(self) -> int | None:
        """How long ago the platform last told the time; None: never."""
        return None if self._seen is None else self._local_us() - self._seen[0]

    def now_us(self) -> int:
        if self._seen is None:
            raise LookupError("the platform has not told the time yet")
        local_us, server_us = self._seen
        return server_us + self._local_us() - local_us


class Repeat(enum.Enum):
    """When a request may be sent again without being asked to."""

    ALWAYS = "it changes nothing, or the same thing"
    REFUSED = "after 429 and 503: its nonce makes sure that it takes effect once"
    LIMITED = "after 429 only: anything else may have taken effect"


class Patience(msgspec.Struct, frozen=True):
    """How often a request is tried, and for how long it waits in between, with full jitter."""

    attempts: int = 8
    total_s: float = 15.0
    first_s: float = 0.2
    most_s: float = 3.0

    def pause_s(self, attempt: int, retry_after_s: float | None, rng: random.Random) -> float:
        jitter_s = rng.uniform(0, min(self.most_s, self.first_s * 2**attempt))
        return jitter_s if retry_after_s is None else retry_after_s + min(jitter_s, 0.25)


class Transport:
    """Raises ApiError, Unreachable, OutcomeUnknown, BadReply. Safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 10.0,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.patience = patience or Patience()
        self.sleep = sleep
        self.token = ""
        self._rng = random.Random()  # noqa: S311 (jitter)
        host = httpx.URL(self.base_url).host
        self._http = httpx.Client(
            base_url=self.base_url,
            timeout=timeout_s,
            # Shorter than any server's, so that no request meets a connection being closed.
            limits=httpx.Limits(max_connections=100, keepalive_expiry=2.0),
            trust_env=host not in ("127.0.0.1", "localhost", "::1"),
            transport=transport,
        )

    def close(self) -> None:
        self._http.close()

    def json(self, type_: type[T], method: str, path: str, repeat: Repeat, **parts: Any) -> T:
        return decode(type_, self.send(method, path, repeat, **parts).content)

    def send(
        self,
        method: str,
        path: str,
        repeat: Repeat,
        *,
        body: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The reply with a status below 400; `path` is below the API unless it starts with /."""
        request = self._http.build_request(
            method,
            path if path.startswith("/") else API + path,
            content=body,
            params=params,
            headers=self._headers(body, headers),
        )
        waited_s = 0.0
        attempt = 0
        while True:
            try:
                return self._once(request)
            except (ApiError, Unreachable, OutcomeUnknown) as error:
                if not _may_repeat(error, repeat):
                    raise
                retry_after_s = error.retry_after_s if isinstance(error, ApiError) else None
                pause_s = self.patience.pause_s(attempt, retry_after_s, self._rng)
                waited_s += pause_s
                attempt += 1
                if attempt >= self.patience.attempts or waited_s > self.patience.total_s:
                    raise
            self.sleep(pause_s)

    def _headers(self, body: bytes | None, extra: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", **(extra or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def _once(self, request: httpx.Request) -> httpx.Response:
        try:
            reply = self._http.send(request)
        except _NOTHING_SENT as error:
            raise Unreachable(f"{self.base_url} cannot be reached: {error}") from error
        except httpx.TransportError as error:
            raise OutcomeUnknown(f"the answer of {request.url} is lost: {error!r}") from error
        if reply.status_code >= 400:
            raise _refusal(reply)
        if reply.status_code >= 300:
            raise BadReply(f"{request.url} redirects to {reply.headers.get('Location')}")
        return reply


def decode(type_: type[T], content: bytes) -> T:
    try:
        return msgspec.json.decode(content, type=type_)
    except msgspec.DecodeError as error:
        raise BadReply(f"not what the contract promises: {error}: {content[:200]!r}") from error


def _may_repeat(error: ApiError | Unreachable | OutcomeUnknown, repeat: Repeat) -> bool:
    match error:
        case Unreachable():
            return True
        case OutcomeUnknown():
            return repeat is Repeat.ALWAYS
        case ApiError(status=429):
            return True
        case ApiError(status=503):
            return repeat is not Repeat.LIMITED
        case ApiError(status=502 | 504):
            return repeat is Repeat.ALWAYS
    return False


class _ErrorBody(msgspec.Struct):
    error: str
    message: str = ""
    detail: dict[str, Any] = {}
    request_id: str = ""


def _refusal(reply: httpx.Response) -> ApiError:
    try:
        body = msgspec.json.decode(reply.content, type=_ErrorBody)
    except msgspec.DecodeError:
        # Not the platform's: something on the way, a proxy perhaps, answered in its place.
        body = _ErrorBody("unexpected_reply", f"HTTP {reply.status_code}: {reply.text[:200]}")
    return ApiError(
        reply.status_code,
        body.error,
        body.message,
        body.detail,
        body.request_id or reply.headers.get("X-Request-ID", ""),
        _retry_after_s(reply),
    )


def _retry_after_s(reply: httpx.Response) -> float | None:
    text = reply.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
