"""The way past ASGI: what takes it, what does not, and that the connection stays in order."""

import asyncio
import random
from typing import Any

import pytest

from taptrading import direct, http
from taptrading.direct import HANDLERS, Direct
from taptrading.limits import LIMITS
from tests.compiled import fast
from tests.httppeer import HttpPeer

POST = b"POST /direct HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n"
HEAD = http.PLAIN_HEAD % b"mine"


def post(body: bytes = b"ask", more: bytes = b"", head: bytes = POST) -> bytes:
    return b"%bContent-Length: %d\r\n%b\r\n%b" % (head, len(body), more, body)


@pytest.fixture(autouse=True, params=["python", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """httptools reads everything, or only what the compiled code does not: nobody can tell."""
    compiled = request.param == "compiled"
    monkeypatch.setattr(direct, "_read_whole", fast().read_request if compiled else None)
    return str(request.param)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Direct]:
    """Requests that took the way past ASGI. They are answered by the test."""
    requests: list[Direct] = []
    monkeypatch.setitem(HANDLERS, b"/direct", requests.append)
    return requests


@pytest.fixture
def asked() -> list[str]:
    """The methods and paths that went to ASGI."""
    return []


def app_of(asked: list[str]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["method"] + " " + scope["path"])
        body = await http.read_body(receive, LIMITS.body_bytes)
        await http.reply(send, 200, body + b" by ASGI", "mine")

    return app


async def test_request_when_plain_is_answered_in_one_write(taken: list[Direct]) -> None:
    peer = HttpPeer()
    peer.state.default_headers = [(b"date", b"today")]
    peer.send(post())
    (request,) = taken
    assert (bytes(request.body), request.address) == (b"ask", "127.0.0.1")
    assert http.id_of(request.inbound_id) == "mine"
    request.reply(202, HEAD, b"{}")
    assert len(peer.wire.writes) == 1
    status, headers, body = await peer.reply()
    assert (status, body) == (202, b"{}")
    assert headers == {
        "date": "today",
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": "mine",
        "content-length": "2",
    }


async def test_request_when_answered_then_the_connection_lives_on(taken: list[Direct]) -> None:
    peer = HttpPeer()
    for number in range(3):
        peer.send(post(b"%d" % number))
        assert peer.protocol.timeout_keep_alive_task is None
        taken[number].reply(200, HEAD, b"%d" % number)
        assert (await peer.reply())[2] == b"%d" % number
        assert peer.protocol.timeout_keep_alive_task is not None
    assert not peer.wire.closed
    assert peer.state.total_requests == 3
    peer.leave()


async def test_body_when_it_comes_in_pieces_is_whole(taken: list[Direct]) -> None:
    peer = HttpPeer()
    for byte in post(b"piecemeal"):
        assert not taken
        peer.send(bytes([byte]))
    assert [request.body for request in taken] == [b"piecemeal"]


async def test_body_when_too_long_is_refused_once_and_the_rest_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def refuse(request: Direct) -> None:
        sizes.append(len(request.body))
        request.reply(413, HEAD, b"{}")

    monkeypatch.setitem(HANDLERS, b"/direct", refuse)
    peer = HttpPeer()
    whole = post(b"x" * (LIMITS.body_bytes + 50_000))
    for at in range(0, len(whole), 10_000):
        peer.send(whole[at : at + 10_000])
    assert (await peer.reply())[0] == 413
    assert len(sizes) == 1
    assert LIMITS.body_bytes < sizes[0] < LIMITS.body_bytes + 20_000
    peer.send(post())
    assert (await peer.reply())[0] == 413
    assert sizes[1:] == [3]


@pytest.mark.parametrize(
    ("request_", "asked_for"),
    [
        (b"GET /direct HTTP/1.1\r\n\r\n", "GET /direct"),
        (post(head=b"POST /direct/other HTTP/1.1\r\n"), "POST /direct/other"),
        (post(head=b"POST /direct?query HTTP/1.1\r\n"), "POST /direct"),
        (post(more=b"Upgrade: h2c\r\nConnection: upgrade\r\n"), "POST /direct"),
    ],
)
async def test_request_when_not_plain_goes_to_asgi(
    taken: list[Direct], asked: list[str], request_: bytes, asked_for: str
) -> None:
    peer = HttpPeer(app_of(asked))
    peer.send(request_)
    assert (await peer.reply())[0] == 200
    assert (asked, taken) == ([asked_for], [])


async def test_request_when_it_expects_a_word_first_gets_it(
    taken: list[Direct], asked: list[str]
) -> None:
    peer = HttpPeer(app_of(asked))
    peer.send(post(b"", b"Expect: 100-continue\r\n").replace(b"Length: 0", b"Length: 3"))
    async with asyncio.timeout(20):
        await peer.wire.written.wait()
    assert peer.wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    peer.wire.writes.clear()
    peer.send(b"ask")
    assert (await peer.reply())[2] == b"ask by ASGI"
    assert not taken


@pytest.mark.parametrize("proxied", [True, False])
async def test_request_when_the_address_is_in_doubt_or_the_client_does_not_read_goes_to_asgi(
    taken: list[Direct], asked: list[str], proxied: bool
) -> None:
    peer = HttpPeer(app_of(asked), proxied=proxied)
    if not proxied:
        peer.protocol.pause_writing()
    peer.send(post())
    await asyncio.sleep(0)
    assert (asked, taken) == (["POST /direct"], [])
    peer.protocol.resume_writing()
    assert (await peer.reply())[2] == b"ask by ASGI"


async def test_request_when_one_before_it_waits_is_answered_after_it(
    taken: list[Direct], asked: list[str]
) -> None:
    peer = HttpPeer(app_of(asked))
    peer.send(post(b"first") + post(b"second") + post(b"third"))
    await asyncio.sleep(0)
    assert (len(taken), asked) == (1, [])
    taken[0].reply(200, HEAD, b"first")
    bodies = [(await peer.reply())[2] for _ in range(3)]
    assert bodies == [b"first", b"second by ASGI", b"third by ASGI"]


async def test_request_when_one_in_the_same_packet_is_answered_already_may_take_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[Direct] = []

    def answer_the_first(request: Direct) -> None:
        taken.append(request)
        if len(taken) == 1:
            request.reply(200, HEAD, b"first")

    monkeypatch.setitem(HANDLERS, b"/direct", answer_the_first)
    peer = HttpPeer()
    peer.send(post() + post())
    assert len(taken) == 2
    assert peer.protocol.timeout_keep_alive_task is None
    taken[1].reply(200, HEAD, b"second")
    assert [(await peer.reply())[2] for _ in range(2)] == [b"first", b"second"]
    peer.leave()


@pytest.mark.parametrize(
    "request_",
    [post(more=b"Connection: close\r\n"), post(head=b"POST /direct HTTP/1.0\r\n")],
)
async def test_connection_when_the_client_wants_no_other_request_is_closed(
    taken: list[Direct], request_: bytes
) -> None:
    peer = HttpPeer()
    peer.send(request_)
    taken[0].reply(200, HEAD, b"{}")
    assert (await peer.reply())[1]["connection"] == "close"
    assert peer.wire.closed


async def test_server_when_it_stops_answers_what_it_has_taken_and_closes(
    taken: list[Direct],
) -> None:
    peer = HttpPeer()
    peer.send(post())
    peer.protocol.shutdown()
    assert not peer.wire.closed
    taken[0].reply(200, HEAD, b"{}")
    assert (await peer.reply())[1]["connection"] == "close"
    assert peer.wire.closed


async def test_answer_when_the_client_has_left_is_not_written(taken: list[Direct]) -> None:
    peer = HttpPeer()
    peer.send(post())
    peer.leave()
    taken[0].reply(200, HEAD, b"{}")
    assert peer.wire.writes == []


async def test_answer_when_it_takes_waiting_holds_the_server_until_then(
    taken: list[Direct],
) -> None:
    peer = HttpPeer()
    peer.send(post())
    go = asyncio.Event()

    async def answer() -> None:
        await go.wait()
        taken[0].reply(200, HEAD, b"late")

    taken[0].later(answer())
    assert len(peer.state.tasks) == 1
    go.set()
    assert (await peer.reply())[2] == b"late"
    await asyncio.sleep(0)
    assert not peer.state.tasks
    peer.leave()


# What the compiled code reads of a request, against httptools.


def seen_by_python(monkeypatch: pytest.MonkeyPatch, data: bytes) -> list[Any]:
    """Path, id, body and what comes of the connection, for each request that goes past ASGI."""
    seen: list[Any] = []

    def take(request: Direct) -> None:
        whole = (request.protocol.url, request.inbound_id, bytes(request.body))  # type: ignore[attr-defined]
        seen.append((whole, request.keep_alive))

    for path in (b"/direct", b"/direct/", b"/"):
        monkeypatch.setitem(HANDLERS, path, take)
    HttpPeer(app_of([])).send(data)
    return seen


PLAIN = (
    post(),
    post(b"x" * LIMITS.body_bytes),
    post(head=b"POST /direct/ HTTP/1.1\r\n"),
    post(more=b"Connection: keep-alive\r\nAccept: */*\r\nx_y:z\r\n"),
    post(
        more=b"connection: Keep-Alive\r\n", head=b"POST /direct HTTP/1.1\r\nX-REQUEST-ID:  a b\r\n"
    ),
)


@pytest.mark.parametrize("data", PLAIN)
async def test_request_when_plain_is_read_the_same_both_ways(
    monkeypatch: pytest.MonkeyPatch, way: str, data: bytes
) -> None:
    monkeypatch.setattr(direct, "_read_whole", None)
    assert seen_by_python(monkeypatch, data) == [(fast().read_request(data), True)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST ",
        b"POST /direct HTTP/1.1",
        b"POST /direct HTTP/1.1\r\n",
        b"POST /direct HTTP/1.1\r\n\r\n",
        b"POST /direct HTTP/1.1\n\nask",
        b"\r\n" + post(),
        post()[:-1],
        post() + b"x",
        post() + post(),
        post(b""),
        post(b"x" * (LIMITS.body_bytes + 1)),
        post(head=b"POST /direct HTTP/1.0\r\n"),
        post(head=b"POST /direct HTTP/1.10\r\n"),
        post(head=b"POST /direct?x HTTP/1.1\r\n"),
        post(head=b"POST /%64irect HTTP/1.1\r\n"),
        post(head=b"POST http://x/direct HTTP/1.1\r\n"),
        post(head=b"POST direct HTTP/1.1\r\n"),
        post(head=b"POST  /direct HTTP/1.1\r\n"),
        post(head=b"POST /" + b"d" * 64 + b" HTTP/1.1\r\n"),
        post(head=b"PUT /direct HTTP/1.1\r\n"),
        post(more=b"Content-Length: 3\r\n"),
        post(more=b"Transfer-Encoding: chunked\r\n"),
        post(more=b"transfer-encoding: identity\r\n"),
        post(more=b"X-Request-ID: other\r\n"),
        post(more=b"Connection: close\r\n"),
        post(more=b"Connection: keep-alive, close\r\n"),
        post(more=b"Upgrade: websocket\r\n"),
        post(more=b"Expect: 100-continue\r\n"),
        post(more=b"Folded: a\r\n b\r\n"),
        post(more=b"Blank : a\r\n"),
        post(more=b" Blank: a\r\n"),
        post(more=b"Empty:\r\n"),
        post(more=b"Bare: a\n"),
        post(more=b"Null: a\0b\r\n"),
        post(more=b"High: \xe9\r\n"),
        post(more=b"Tail: a \r\n"),
        post(more=b"no colon\r\n"),
        post(more=b": no name\r\n"),
        post().replace(b"Length: 3", b"Length: 03"),
        post().replace(b"Length: 3", b"Length: +3"),
        post().replace(b"Length: 3", b"Length: 3,3"),
        post().replace(b"Length: 3", b"Length: 0x3"),
        post().replace(b"Length: 3", b"Length: " + b"9" * 40),
    ],
)
def test_request_when_not_plain_or_not_whole_is_left_to_httptools(data: bytes) -> None:
    assert fast().read_request(data) is None


async def test_request_when_any_byte_is_changed_is_read_the_same_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(direct, "_read_whole", None)
    draw = random.Random(17)
    paths = (b"/direct", b"/direct/", b"/")
    taken = 0
    for _ in range(3_000):
        data = bytearray(draw.choice((PLAIN[0], *PLAIN[2:])))
        for _ in range(draw.choice((1, 1, 2, 4))):
            at = draw.randrange(len(data))
            match draw.randrange(3):
                case 0:
                    data[at] = draw.choice((draw.randrange(256), *b"\r\n :-0123/aZ"))
                case 1:
                    del data[at : at + draw.choice((1, 1, 2, 20))]
                case _:
                    data[at:at] = draw.choice(
                        (b"\r\n", b" ", b"0", b"\r\na: b", data[at : at + 20])
                    )
        whole = fast().read_request(bytes(data))
        if whole is not None and whole[0] in paths:
            taken += 1
            assert seen_by_python(monkeypatch, bytes(data)) == [(whole, True)], bytes(data)
    assert taken > 200
