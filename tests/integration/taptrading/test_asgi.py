"""The web process's one application: which path goes where, and the errors of each."""

import json
from typing import Any

import pytest
from channels.testing import ApplicationCommunicator, HttpCommunicator, WebsocketCommunicator
from django.db import OperationalError

from taptrading import asgi, http
from taptrading.asgi import application
from taptrading.errors import DependencyError


@pytest.fixture
def broken_endpoint(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """POST bets fails with what the test puts into the list."""
    errors: list[Exception] = []

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise errors[0]

    monkeypatch.setitem(asgi._ROUTES, "/api/v1/bets", asgi._bets("POST", fail))
    return errors


async def ask(method: str, path: str) -> dict[str, Any]:
    headers = [(b"host", b"localhost"), (b"x-request-id", b"mine")]
    reply: dict[str, Any] = await HttpCommunicator(
        application, method, path, headers=headers
    ).get_response(timeout=10)
    reply["headers"] = {name.lower().decode(): v.decode() for name, v in reply["headers"]}
    return reply


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/health", {"status": "ok"}), ("/health/liveness", {"alive": True})],
)
async def test_health_when_the_process_answers_is_well(
    path: str, slash: str, body: dict[str, Any]
) -> None:
    reply = await ask("GET", path + slash)
    assert (reply["status"], json.loads(reply["body"])) == (200, body)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/v1/bets", "GET, HEAD, POST, OPTIONS"),
        ("GET", "/api/v1/bets/batch", "POST, OPTIONS"),
        ("DELETE", "/api/v1/bets/check/", "POST, OPTIONS"),
        ("POST", "/api/v1/grid", "GET, HEAD, OPTIONS"),
    ],
)
async def test_request_when_the_method_is_not_answered_is_405(
    method: str, path: str, allow: str
) -> None:
    reply = await ask(method, path)
    assert reply["status"] == 405
    assert reply["headers"]["allow"] == allow
    assert json.loads(reply["body"])["error"] == "method_not_allowed"
    assert reply["headers"]["x-request-id"] == "mine"
    assert (await ask("OPTIONS", path))["headers"]["allow"] == allow


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DependencyError("no writer"), 503, "dependency_unavailable"),
        (OperationalError("database is locked"), 503, "dependency_unavailable"),
        (ZeroDivisionError("secret"), 500, "internal_error"),
    ],
)
async def test_request_when_the_endpoint_fails_tells_no_more_than_it_must(
    broken_endpoint: list[Exception], error: Exception, status: int, code: str
) -> None:
    broken_endpoint.append(error)
    reply = await ask("POST", "/api/v1/bets")
    body = json.loads(reply["body"])
    assert (reply["status"], body["error"], body["request_id"]) == (status, code, "mine")
    assert str(error) not in reply["body"].decode()
    assert reply["headers"].get("retry-after") == ("1" if status == 503 else None)


async def test_request_when_no_small_application_knows_the_path_goes_to_django() -> None:
    reply = await ask("GET", "/api/v1/no-such-thing")
    assert reply["status"] == 404
    assert json.loads(reply["body"])["error"] == "not_found"


async def send_body(path: str, parts: list[bytes], *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """What comes back when the body arrives in parts; how many of them were asked for."""
    client = ApplicationCommunicator(
        application,
        {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"x-request-id", b"mine"), *headers],
        },
    )
    for number, part in enumerate(parts, 1):
        more = number < len(parts)
        await client.send_input({"type": "http.request", "body": part, "more_body": more})
    start = await client.receive_output(timeout=10)
    body = (await client.receive_output(timeout=10))["body"]
    unread = client.input_queue.qsize()
    await client.send_input({"type": "http.disconnect"})
    await client.wait()
    return {"status": start["status"], "body": body, "unread": unread}


KIB = 1024


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/api/v1/deposits", 16 * KIB), ("/elsewhere", 16 * KIB), ("/admin/login/", 2_560 * KIB)],
)
async def test_body_when_it_is_too_long_then_never_reaches_django(path: str, limit: int) -> None:
    announced = await send_body(path, [b"x"] * 3, (b"content-length", b"%d" % (limit + 1)))
    counted = await send_body(path, [b"x" * limit, b"x", b"x"])
    for reply, unread in ((announced, 3), (counted, 1)):
        body = json.loads(reply["body"])
        assert (reply["status"], body["error"], body["request_id"]) == (413, "too_large", "mine")
        assert body["detail"] == {"limit_bytes": limit}
        assert reply["unread"] == unread


async def test_body_when_it_is_as_long_as_may_be_then_django_answers() -> None:
    reply = await send_body("/elsewhere", [b"x" * 8 * KIB] * 2)
    assert reply["status"] == 404


JSON = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize("framing", [(), (CHUNKED,), (CHUNKED, (b"content-length", b"2"))])
async def test_body_when_its_length_is_not_announced_then_django_reads_it_all(framing: Any) -> None:
    parts = [b'{"sur', b'prise": ', b"5}"]
    reply = await send_body("/api/v1/auth/nonce", parts, JSON, *framing)
    body = json.loads(reply["body"])
    assert (reply["status"], body["error"]) == (400, "invalid_request")
    assert body["detail"] == {"fields": {"surprise": ["Unknown field."]}}


async def test_body_when_the_client_leaves_within_it_then_django_never_sees_it() -> None:
    client = ApplicationCommunicator(
        application,
        {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/auth/nonce",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), JSON, CHUNKED],
        },
    )
    await client.send_input({"type": "http.request", "body": b"{", "more_body": True})
    await client.send_input({"type": "http.disconnect"})
    assert (await client.receive_output(timeout=10))["status"] == 400
    assert "client left" in (await client.receive_output(timeout=10))["body"].decode()


async def test_websocket_when_the_path_is_unknown_is_refused() -> None:
    peer = WebsocketCommunicator(application, "/ws/v2")
    assert (await peer.connect()) == (False, 4404)


@pytest.mark.parametrize("path", ["/ws/v1", "/ws/v1/"])
async def test_websocket_when_the_path_is_known_answers(path: str) -> None:
    peer = WebsocketCommunicator(application, path)
    assert (await peer.connect())[0]
    await peer.send_json_to({"op": "ping"})
    assert await peer.receive_json_from() == {"seq": 1, "type": "pong", "data": {}}
    await peer.disconnect()


async def test_lifespan_when_it_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise OSError("no socket")

    monkeypatch.setattr(asgi, "_start", fail)
    server = ApplicationCommunicator(application, {"type": "lifespan"})
    await server.send_input({"type": "lifespan.startup"})
    assert await server.receive_output() == {
        "type": "lifespan.startup.failed",
        "message": "no socket",
    }


async def test_request_when_it_is_a_plain_own_read_then_django_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answered(scope: Any, send: Any) -> bool:
        plain: bool = scope["path"] == "/api/v1/bets"
        if plain:
            await http.reply(send, 200, b"{}", "mine")
        return plain

    monkeypatch.setattr(asgi.own_reads, "answered", answered)
    assert (await ask("GET", "/api/v1/bets"))["body"] == b"{}"
    assert (await ask("GET", "/api/v1/no-such-thing"))["status"] == 404
