"""What every group of resources shares: one session, the platform's time, pages."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Generic, Self, TypeVar

import msgspec

from taptrading.client.errors import BadReply
from taptrading.client.shapes import Config, Status
from taptrading.client.transport import API, Repeat, ServerClock, Transport, decode

T = TypeVar("T")

_TIME_AGE_US: Final = 10_000_000


class _Page(msgspec.Struct, Generic[T]):
    results: list[T]
    next: str | None = None


class Base:
    """`options` are those of `Transport`."""

    def __init__(self, base_url: str, **options: Any) -> None:
        self.transport = Transport(base_url, **options)
        self.clock = ServerClock()
        self._config: Config | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.transport.close()

    @property
    def token(self) -> str:
        return self.transport.token

    @property
    def socket_url(self) -> str:
        return "ws" + self.transport.base_url.removeprefix("http") + "/ws/v1"

    def config(self) -> Config:
        """Asked once: the rules do not change while a platform runs."""
        if self._config is None:
            self._config = self._get(Config, "config")
        return self._config

    def status(self) -> Status:
        status = self._get(Status, "status")
        self.clock.observe(status.server_time)
        return status

    def now_us(self) -> int:
        """The platform's time, asked for when the last answer is older than ten seconds."""
        age_us = self.clock.age_us()
        if age_us is None or age_us > _TIME_AGE_US:
            self.status()
        return self.clock.now_us()

    def _get(self, type_: type[T], path: str, params: dict[str, str | int] | None = None) -> T:
        return self.transport.json(type_, "GET", path, Repeat.ALWAYS, params=params)

    def _post(self, type_: type[T], path: str, body: bytes, repeat: Repeat) -> T:
        return self.transport.json(type_, "POST", path, repeat, body=body)

    def _pages(self, type_: type[T], path: str, params: dict[str, str | int] | None) -> Iterator[T]:
        here = API + path
        while here:
            reply = self.transport.send("GET", here, Repeat.ALWAYS, params=params)
            page = decode(_Page[type_], reply.content)  # type: ignore[valid-type]
            yield from page.results
            here, params = self._here(page.next or ""), None

    def _here(self, next_url: str) -> str:
        """The path of the next page. One elsewhere is refused: the token stays at home."""
        if next_url and (not next_url.startswith("/") or next_url.startswith("//")):
            raise BadReply(f"the next page is said to be elsewhere: {next_url}")
        return next_url


def rfc3339(at: datetime) -> str:
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1_000:03d}Z"


def list_params(
    *, limit: int, start: datetime | None, end: datetime | None, **others: str | None
) -> dict[str, str | int]:
    params: dict[str, str | int] = {"limit": limit}
    params.update({name: value for name, value in others.items() if value is not None})
    if start is not None:
        params["from"] = rfc3339(start)
    if end is not None:
        params["to"] = rfc3339(end)
    return params
