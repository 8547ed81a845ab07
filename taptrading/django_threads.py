"""Django behind the event loop: a request runs from its first middleware to its last in one
thread of a few, as under WSGI.

Django's own ASGI handler opens a thread, and with it a connection to the database, for every
request, and hops between loop and thread at each synchronous step.
"""

import io
from typing import NamedTuple

from django.core import signals
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from taptrading import http, threads
from taptrading.errors import ApiError, DependencyError, Refusal
from taptrading.http import Receive, Scope, Send

_SAFE = ("GET", "HEAD", "OPTIONS")


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class ThreadedDjango(ASGIHandler):
    """Django as an ASGI application. Bodies are short (see `http.within`) and held in memory.

    What changes something may wait for the writer or the custodian, so it has threads of its
    own: reads go on meanwhile.
    """

    def __init__(self) -> None:
        super(ASGIHandler, self).__init__()
        self.load_middleware(is_async=False)

    async def __call__(  # type: ignore[override]
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        body_bytes = int(dict(scope["headers"]).get(b"content-length") or 0)
        try:
            body = await http.read_body(receive, body_bytes)
        except ApiError:
            return  # the client is gone
        pool = threads.READS if scope["method"] in _SAFE else threads.CHANGES
        try:
            answer = await pool.run(self._answer, scope, body)
        except DependencyError:
            await http.refuse(send, Refusal("dependency_unavailable"), http.request_id(scope))
            return
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _answer(self, scope: Scope, body: bytes) -> _Answer:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refused = self.create_request(scope, io.BytesIO(body))
        response = refused if request is None else self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        try:
            return _Answer(response.status_code, _headers(response), _body(response))
        finally:
            response.close()


def _headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    found = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = (cookie.output(header="").strip() for cookie in response.cookies.values())
    return found + [(b"Set-Cookie", cookie.encode("ascii")) for cookie in cookies]


def _body(response: HttpResponseBase) -> bytes:
    """Nothing here streams but static files, none of them long."""
    if isinstance(response, StreamingHttpResponse):
        return b"".join(response)
    assert isinstance(response, HttpResponse)
    return response.content
