"""The shared half of the REST API, on a little API of its own."""

import asyncio
import json
import logging
import sys
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taptrading import api
from taptrading.errors import ApiError, DependencyError, OutcomeUnknown


class Probe(api.StrictSerializer):
    amount_micros = api.IntField(required=False)
    note = api.TextField(required=False)


class OpenView(APIView):
    authentication_classes = ()
    permission_classes = ()


class EchoView(OpenView):
    def post(self, request: Request) -> Response:
        probe = Probe(data=request.data)
        probe.is_valid(raise_exception=True)
        return Response(probe.validated_data)


class FailingView(OpenView):
    error: Exception = Exception()

    def get(self, request: Request) -> Response:
        raise self.error


class SignedInView(APIView):
    authentication_classes = ()

    def get(self, request: Request) -> Response:
        return Response({})


def broken_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<h1>teapot</h1>", status=418, headers={"X-Frame-Options": "DENY"})


urlpatterns = [
    path("api/echo", EchoView.as_view()),
    path("api/failing", FailingView.as_view()),
    path("api/signed-in", SignedInView.as_view()),
    path("api/teapot", broken_page),
]


@pytest.fixture
def client(settings: Any) -> Client:
    settings.ROOT_URLCONF = sys.modules[__name__]
    settings.MIDDLEWARE = ["taptrading.api.RequestIdMiddleware"]
    return Client(raise_request_exception=False)


def post(client: Client, body: str | bytes, content_type: str = "application/json") -> Any:
    return client.post("/api/echo", body, content_type=content_type)


def assert_error(response: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(response.content)
    assert (response.status_code, body["error"]) == (status, code)
    assert set(body) == {"error", "message", "detail", "request_id"}
    assert body["request_id"] == response["X-Request-ID"]
    assert body["message"]
    assert response["Cache-Control"] == "no-store"
    return body


def test_post_when_well_formed_then_echoed(client: Client) -> None:
    response = post(client, '{"amount_micros": 9223372036854775807, "note": " é "}')
    assert response.json() == {"amount_micros": 2**63 - 1, "note": " é "}


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "nope",
        "[]",
        "1",
        "null",
        '"text"',
        '{"amount_micros": 1.0}',
        '{"amount_micros": 1e6}',
        '{"amount_micros": NaN}',
        '{"amount_micros": Infinity}',
        '{"amount_micros": -Infinity}',
        '{"amount_micros": "5"}',
        '{"amount_micros": true}',
        '{"amount_micros": null}',
        '{"amount_micros": -1}',
        '{"amount_micros": 9223372036854775808}',
        '{"amount_micros": [1]}',
        '{"amount_micros": 01}',
        '{"amount_micros": ' + "9" * 5_000 + "}",
        '{"amount_micros": 1, "amount_micros": 1}',
        '{"note": {"a": 1, "a": 2}}',
        '{"note": 5}',
        '{"note": true}',
        '{"note": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"note": "\\u0000"}',
        '{"colour": "red"}',
        "[" * 8_000,
        b"\xff\xfe{}",
        "\ufeff{}",
    ],
)
def test_post_when_not_of_the_documented_form_then_invalid_request(
    client: Client, body: str | bytes
) -> None:
    assert_error(post(client, body), 400, "invalid_request")


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_post_when_not_json_then_invalid_request(client: Client, content_type: str) -> None:
    assert_error(post(client, "{}", content_type), 400, "invalid_request")


def test_post_when_there_is_no_body_then_an_empty_object(client: Client) -> None:
    assert post(client, "").json() == {}


def test_post_when_an_unknown_field_then_named(client: Client) -> None:
    body = assert_error(post(client, '{"colour": "red"}'), 400, "invalid_request")
    assert body["detail"] == {"fields": {"colour": ["Unknown field."]}}


def test_post_when_a_byte_too_long_then_too_large(client: Client) -> None:
    frame = len('{"note": ""}')
    fitting = '{"note": "' + "a" * (16 * 1024 - frame) + '"}'
    assert post(client, fitting).status_code == 200
    assert_error(post(client, fitting + " "), 413, "too_large")


def test_request_id_when_sane_then_kept_else_made(client: Client) -> None:
    assert client.get("/api/nowhere", headers={"X-Request-ID": "a-1"})["X-Request-ID"] == "a-1"
    for bad in ("", "a b", "x" * 65, "é"):
        made = client.get("/api/nowhere", headers={"X-Request-ID": bad})["X-Request-ID"]
        assert len(made) == 16
        assert made != bad


def test_get_when_unknown_path_then_not_found_as_json_below_api_only(client: Client) -> None:
    assert_error(client.get("/api/nowhere"), 404, "not_found")
    assert client.get("/nowhere")["Content-Type"].startswith("text/html")


def test_get_when_debug_then_errors_stay_json(client: Client, settings: Any) -> None:
    settings.DEBUG = True
    assert_error(client.get("/api/nowhere"), 404, "not_found")


def test_get_when_method_is_not_answered_then_405_with_allow(client: Client) -> None:
    response = client.get("/api/echo")
    assert_error(response, 405, "method_not_allowed")
    assert "POST" in response["Allow"]


def test_get_when_a_page_is_an_error_then_its_html_stays_inside(client: Client) -> None:
    response = client.get("/api/teapot")
    assert_error(response, 400, "invalid_request")
    assert response["X-Frame-Options"] == "DENY"
    assert int(response["Content-Length"]) == len(response.content)


def test_get_when_not_signed_in_then_refused(client: Client) -> None:
    assert_error(client.get("/api/signed-in"), 403, "forbidden")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ApiError("wallet_frozen"), 403, "wallet_frozen"),
        (DependencyError("writer gone"), 503, "dependency_unavailable"),
        (OutcomeUnknown("writer gone since"), 504, "outcome_unknown"),
        (OperationalError("database is locked"), 503, "dependency_unavailable"),
        (ApiError("rate_limited", retry_after_s=7), 429, "rate_limited"),
        (RequestDataTooBig(), 413, "too_large"),
        (exceptions.NotAuthenticated(), 403, "unauthenticated"),
        (exceptions.NotAcceptable(), 400, "invalid_request"),
        (exceptions.Throttled(), 429, "rate_limited"),
    ],
)
def test_get_when_a_view_raises_then_its_code(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    monkeypatch.setattr(FailingView, "error", error)
    response = client.get("/api/failing")
    status = 401 if code == "unauthenticated" else status
    assert_error(response, status, code)
    if status in (429, 503):
        assert int(response["Retry-After"]) >= 1


def test_get_when_a_view_breaks_then_500_without_trace_and_logged(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FailingView, "error", KeyError("the vault is at /srv"))
    with caplog.at_level(logging.ERROR, "taptrading.api"):
        response = client.get("/api/failing", headers={"X-Request-ID": "abc"})
    assert_error(response, 500, "internal_error")
    assert b"vault" not in response.content
    assert "request abc failed" in caplog.text
    assert "the vault" in caplog.text


def test_middleware_when_async_then_the_same_replies(settings: Any) -> None:
    settings.ROOT_URLCONF = sys.modules[__name__]
    settings.MIDDLEWARE = ["taptrading.api.RequestIdMiddleware"]

    response = asyncio.run(_get_async())

    assert_error(response, 404, "not_found")


async def _get_async() -> Any:
    return await AsyncClient().get("/api/nowhere")


def page_of(query: str) -> tuple[api.PageRequest, Request]:
    from django.test import RequestFactory

    request = Request(RequestFactory().get("/api/v1/things?" + query))
    return api.PageRequest.of(request), request


def test_page_when_more_rows_follow_then_a_relative_url() -> None:
    page, request = page_of("limit=2&kind=STAKE")
    rows, next_url = page.cut(request, [9, 7, 5], lambda row: row)
    assert list(rows) == [9, 7]
    assert next_url == "/api/v1/things?limit=2&kind=STAKE&before=7"


def test_page_when_rows_end_then_no_next() -> None:
    page, request = page_of("limit=2&before=9")
    assert page == api.PageRequest(2, 9)
    assert page.cut(request, [7, 5], lambda row: row) == ([7, 5], None)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1.0",
        "limit=²",
        "limit=٣",
        "before=0",
        "before=9223372036854775808",
        "before=" + "9" * 5_000,
    ],
)
def test_page_when_out_of_bounds_then_invalid_request(query: str) -> None:
    with pytest.raises(ApiError) as caught:
        page_of(query)
    assert caught.value.refusal.code == "invalid_request"
