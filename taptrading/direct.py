"""uvicorn's HTTP protocol with a way past ASGI for the requests that come by the thousand.

A POST to a path of `HANDLERS` goes to its handler as soon as its body is there: no scope, no
task, no events, and the reply is one write. One that comes in one piece, as nearly all do, is read
by the compiled code where there is any, without httptools and its callbacks. Whatever is not plain
(an upgrade, `Expect`, a request behind one that waits for its answer, a client that does not read)
goes uvicorn's own way, to the ASGI application, which has to answer the same.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import cache
from time import perf_counter
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from taptrading import metrics, native
from taptrading.limits import LIMITS


class Direct:
    """A request, and the way back to its client.

    Has what `HttpToolsProtocol` looks at in a request under way, so that its time-outs,
    pipelining and shutdown hold for this one too.
    """

    __slots__ = (
        *("address", "answers", "body", "disconnected", "inbound_id", "keep_alive"),
        *("message_event", "more_body", "protocol", "response_complete", "started"),
    )

    def __init__(
        self,
        protocol: "DirectProtocol",
        keep_alive: bool,
        answers: metrics.Answers,
        inbound_id: bytes,
        body: bytes | bytearray,
    ) -> None:
        self.started = perf_counter()
        self.answers = answers
        self.protocol = protocol
        self.inbound_id = inbound_id
        self.address = protocol.client[0] if protocol.client else "unknown"
        self.keep_alive = keep_alive
        self.body = body
        self.more_body = True
        self.message_event = _NOBODY
        self.disconnected = False
        self.response_complete = False

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """`head` is whole header lines, each with its end, but for the length of the body."""
        protocol = self.protocol
        transport = protocol.transport
        if self.disconnected or self.response_complete or transport.is_closing():
            return
        self.response_complete = True
        close = b"" if self.keep_alive else b"connection: close\r\n"
        transport.write(
            b"%b%b%b%bcontent-length: %d\r\n\r\n%b"
            % (STATUS_LINE[status], protocol.always(), head, close, len(body), body)
        )
        if not self.keep_alive:
            transport.close()
        protocol.on_response_complete()
        self.answers.add(status, perf_counter() - self.started)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """For an answer that takes waiting; the server stops only after it."""
        tasks = self.protocol.tasks
        task = self.protocol.loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


_Lines = list[tuple[bytes, bytes]]


class _Always:
    """The header lines of all replies, made when the server changes them: once a second."""

    def __init__(self) -> None:
        self._headers: _Lines = []
        self._lines = b""

    def lines(self, headers: _Lines) -> bytes:
        if headers is not self._headers:
            self._headers = headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines


_always: Final = _Always()

Handler = Callable[[Direct], None]
HANDLERS: Final[dict[bytes, Handler]] = {}


@cache  # of paths in HANDLERS, so of a few
def _answers_of(path: bytes) -> metrics.Answers:
    return metrics.answers("POST", metrics.template_of(path.decode().lstrip("/")))


# For those who wait for more of a request: nobody waits for more of a direct one.
_NOBODY: Final = asyncio.Event()


# The compiled way from what came to path, X-Request-ID and body; None unless it is a whole request.
_read_whole: Callable[[bytes], tuple[bytes, bytes, bytes] | None] | None
_read_whole = None if native.fast is None else native.fast.read_request


class DirectProtocol(HttpToolsProtocol):
    """A handler gets whole requests, or such as have grown above `LIMITS.body_bytes`."""

    _is_mid_request = False  # httptools has begun to read one

    def data_received(self, data: bytes) -> None:
        whole = None if _read_whole is None or not self._is_idle() else _read_whole(data)
        handler = None if whole is None else HANDLERS.get(whole[0])
        if whole is None or handler is None:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        path, inbound_id, body = whole
        request = Direct(self, True, _answers_of(path), inbound_id, body)
        request.more_body = False
        self.cycle = request  # type: ignore[assignment]
        handler(request)

    def _is_idle(self) -> bool:
        """Nothing of a request was read, and all that were are answered."""
        return (
            not self._is_mid_request
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.config.proxy_headers
            and not self.transport.is_closing()
        )

    def always(self) -> bytes:
        return _always.lines(self.server_state.default_headers)

    def on_message_begin(self) -> None:
        self._is_mid_request = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._unset_keepalive_if_required()  # armed, if one in the same packet is answered already
        handler = HANDLERS.get(self.url)
        if handler is None or not self._is_plain():
            super().on_headers_complete()
            return
        self._handler = handler
        http_version = self.parser.get_http_version()
        keep_alive = http_version != "1.0" and self.parser.should_keep_alive()
        inbound_id = next((value for name, value in self.headers if name == b"x-request-id"), b"")
        self.cycle = Direct(  # type: ignore[assignment]
            self, keep_alive, _answers_of(self.url), inbound_id, bytearray()
        )

    def _is_plain(self) -> bool:
        return (
            self.parser.get_method() == b"POST"
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
            # Behind a proxy the client's address is what ASGI's middleware makes of the headers.
            and not self.config.proxy_headers
        )

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        cycle: Any = self.cycle
        if type(cycle) is Direct and len(cycle.body) > LIMITS.body_bytes:
            self._handle(cycle)

    def on_message_complete(self) -> None:
        self._is_mid_request = False
        super().on_message_complete()
        cycle: Any = self.cycle
        if type(cycle) is Direct:
            self._handle(cycle)

    def _handle(self, request: Direct) -> None:
        if not request.response_complete:
            self._handler(request)
