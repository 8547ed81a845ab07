"""Django behind the event loop, in a few threads: what it answers, and how many wait."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path
from django.urls.base import get_script_prefix

from taptrading import threads
from taptrading.django_threads import ThreadedDjango
from taptrading.errors import DependencyError

gate = threading.Event()
entered = threading.Semaphore(0)


def echo(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(request.body, headers={"X-Thread": threading.current_thread().name})
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse([b"some ", b"parts"])


def wait(request: HttpRequest) -> HttpResponse:
    entered.release()
    assert gate.wait(10)
    return HttpResponse(get_script_prefix())


def fail(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError("secret")


urlpatterns = [
    path("echo", echo),
    path("stream", stream),
    path("wait", wait),
    path("api/fail", fail),
]


@pytest.fixture
def django() -> Iterator[ThreadedDjango]:
    gate.clear()
    with override_settings(
        ROOT_URLCONF=__name__, MIDDLEWARE=["taptrading.api.RequestIdMiddleware"]
    ):
        yield ThreadedDjango()
    gate.set()


async def ask(
    django: ThreadedDjango, path: str, method: str = "GET", body: bytes = b""
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": method, "path": path, "query_string": b""}
    await django({**scope, "headers": headers}, receive, send)
    return sent[0]["status"], sent[0]["headers"], sent[1]["body"]


async def test_request_when_it_has_a_body_then_a_view_reads_it_and_every_cookie_comes_back(
    django: ThreadedDjango,
) -> None:
    status, headers, body = await ask(django, "/echo", "POST", b"hello")
    assert (status, body) == (200, b"hello")
    cookies = [value.partition(b";")[0] for name, value in headers if name == b"Set-Cookie"]
    assert cookies == [b"one=1", b"two=2"]


@pytest.mark.parametrize(("method", "pool"), [("GET", b"reads"), ("POST", b"changes")])
async def test_request_then_reads_and_changes_have_threads_of_their_own(
    django: ThreadedDjango, method: str, pool: bytes
) -> None:
    _, headers, _ = await ask(django, "/echo", method)
    assert dict(headers)[b"X-Thread"].startswith(pool)


async def test_response_when_it_streams_then_it_is_sent_whole(django: ThreadedDjango) -> None:
    assert (await ask(django, "/stream"))[2] == b"some parts"


async def test_request_when_the_view_fails_then_the_error_body_without_the_secret(
    django: ThreadedDjango, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, body = await ask(django, "/api/fail")
    assert status == 500
    assert b"internal_error" in body
    assert b"secret" not in body


async def test_request_when_the_client_left_then_nothing_is_sent(django: ThreadedDjango) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    scope = {"type": "http", "method": "POST", "path": "/echo", "query_string": b""}
    await django({**scope, "headers": [(b"content-length", b"5")]}, gone, send)


async def test_read_when_all_changes_wait_for_the_writer_then_it_is_answered(
    django: ThreadedDjango, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "CHANGES", threads.Threads(1, "changes"))
    stuck = asyncio.ensure_future(ask(django, "/wait", "POST"))
    await asyncio.to_thread(entered.acquire, timeout=10)
    assert (await ask(django, "/echo"))[0] == 200
    assert not stuck.done()
    gate.set()
    assert (await stuck)[0] == 200


async def test_request_when_too_many_wait_then_503_at_once(
    django: ThreadedDjango, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "READS", threads.Threads(1, "reads"))
    monkeypatch.setattr(threads, "WAITING_MAX", 1)
    waiting = asyncio.ensure_future(ask(django, "/wait"))
    await asyncio.to_thread(entered.acquire, timeout=10)
    status, headers, body = await ask(django, "/echo")
    assert status == 503
    assert b"dependency_unavailable" in body
    assert dict(headers)[b"retry-after"] == b"1"
    with pytest.raises(DependencyError):
        await threads.in_thread(int)
    gate.set()
    assert (await waiting)[0] == 200
    assert (await ask(django, "/echo"))[0] == 200
