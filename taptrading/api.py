"""What every REST view shares: request ids, error -> status and body, and, from the
files beside this one, strict input and pages.

Knows no app. Whatever goes wrong below `/api/`, the client gets the contract's error body;
no stack trace and no library's own wording leaves the house.
"""

import logging
import random
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.csrf import csrf_failure as django_csrf_failure
from drf_spectacular.utils import OpenApiResponse
from redis.exceptions import RedisError
from rest_framework import exceptions, serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from taptrading import logs
from taptrading.errors import CODES, ApiError, DependencyError, OutcomeUnknown, Refusal
from taptrading.pages import CursorPage, PageRequest
from taptrading.strict import IntField, StrictJSONParser, StrictSerializer, TextField

__all__ = [
    "CursorPage",
    "ErrorSerializer",
    "IntField",
    "PageRequest",
    "RequestIdMiddleware",
    "SignedIn",
    "StrictJSONParser",
    "StrictSerializer",
    "TextField",
    "csrf_failure",
    "error_body",
    "error_responses",
    "exception_handler",
    "new_request_id",
    "request_id",
]

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 1
_LOOK_FIRST: Final = "The answer was lost: look up what became of it before asking again."
_INBOUND_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID: Final = "tap.request_id"
_BY_STATUS: Final = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    429: "rate_limited",
    503: "dependency_unavailable",
}


# Request ids.


def new_request_id(inbound: str = "") -> str:
    """The client's own id if it is a sane one, else a fresh one."""
    if inbound and _INBOUND_ID.fullmatch(inbound):
        return inbound
    return f"{random.getrandbits(64):016x}"  # no secret: it is in every reply


def request_id(request: HttpRequest) -> str:
    """The id that `RequestIdMiddleware` gave this request."""
    found: str = request.META.setdefault(_REQUEST_ID, new_request_id())
    return found


class RequestIdMiddleware:
    """Gives every reply its X-Request-ID, and every error below /api/ the contract's body; there
    a trailing slash makes no difference."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponseBase | Coroutine[Any, Any, HttpResponseBase]:
        request.META[_REQUEST_ID] = new_request_id(request.headers.get("X-Request-ID", ""))
        if request.path_info.startswith("/api/"):
            request.path_info = request.path_info.removesuffix("/")
        if self.is_async:
            return self._respond(request)
        token = logs.request_id.set(request_id(request))
        try:
            return self._finish(request, self.get_response(request))
        finally:
            logs.request_id.reset(token)

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        logs.request_id.set(request_id(request))  # of this task, which is the request's own
        return self._finish(request, await self.get_response(request))

    def _finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.path.startswith("/api/"):
            if response.status_code >= 400 and not _is_json(response):
                response = _error_page_as_json(request, response)
            response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Request-ID"] = request_id(request)
        return response


def _is_json(response: HttpResponseBase) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/json")


def _error_page_as_json(request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
    code = _BY_STATUS.get(response.status_code)
    if code is None and response.status_code < 500:
        code = "invalid_request"
    body = error_body(Refusal(code), request_id(request)) if code else _internal_error(request)
    status = CODES[code].status if code else 500
    replaced = JsonResponse(body, status=status)
    replaced.headers["Content-Length"] = str(len(replaced.content))
    for name, value in response.headers.items():
        replaced.headers.setdefault(name, value)  # Allow, and what keeps browsers safe
    return replaced


# Errors out.


def error_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    return {
        "error": refusal.code,
        "message": refusal.sentence,
        "detail": refusal.detail,
        "request_id": request_id,
    }


def _internal_error(request: HttpRequest) -> dict[str, Any]:
    return {
        "error": "internal_error",
        "message": "Something went wrong on our side: quote the request id to support.",
        "detail": {},
        "request_id": request_id(request),
    }


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """REST framework's one error handler."""
    request: HttpRequest = context["request"]._request
    refusal = _refusal_of(exc)
    if refusal is None:
        logger.error("request %s failed", request_id(request), exc_info=exc)
        return Response(_internal_error(request), status=500)
    if refusal.status == 503:
        logger.warning("request %s: %s: %s", request_id(request), refusal.code, exc)
    headers = {}
    if refusal.status in (429, 503):
        headers["Retry-After"] = str(refusal.detail.get("retry_after_s", RETRY_AFTER_S))
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    return Response(
        error_body(refusal, request_id(request)), status=refusal.status, headers=headers
    )


def _refusal_of(exc: Exception) -> Refusal | None:
    match exc:
        case ApiError():
            return exc.refusal
        case OutcomeUnknown():  # "send it again" would be wrong: it may have been done
            return Refusal("outcome_unknown", message=_LOOK_FIRST)
        case DependencyError() | OperationalError() | InterfaceError() | RedisError():
            return Refusal("dependency_unavailable")
        case exceptions.ValidationError():
            return Refusal("invalid_request", {"fields": _plain(exc.detail)})
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Refusal("unauthenticated")
        case RequestDataTooBig():
            return Refusal("too_large")
        case SuspiciousOperation():
            return Refusal("invalid_request")
        case PermissionDenied():
            return Refusal("forbidden")
        case Http404():
            return Refusal("not_found")
        case exceptions.APIException() if exc.status_code < 500:
            return Refusal(_BY_STATUS.get(exc.status_code, "invalid_request"))
        case _:
            return None


def _plain(detail: Any) -> Any:
    """REST framework's error details without its string subclass."""
    if isinstance(detail, Mapping):
        return {str(key): _plain(value) for key, value in detail.items()}
    if isinstance(detail, Sequence) and not isinstance(detail, str):
        return [_plain(value) for value in detail]
    return str(detail)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Django's CSRF refusal: JSON below /api/, its own page elsewhere."""
    if request.path.startswith("/api/"):
        return JsonResponse(error_body(Refusal("csrf_failed"), request_id(request)), status=403)
    return django_csrf_failure(request, reason)


class ErrorSerializer(serializers.Serializer[Any]):
    """Every error looks like this."""

    error = serializers.CharField(help_text="A stable code.")
    message = serializers.CharField(help_text="A sentence for people.")
    detail = serializers.DictField(help_text="What a program can use; depends on the code.")
    request_id = serializers.CharField(help_text="As in X-Request-ID.")


def error_responses(*codes: str) -> dict[int, OpenApiResponse]:
    """For `extend_schema(responses=…)`: these codes, by status."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        status: OpenApiResponse(ErrorSerializer, ", ".join(f"`{code}`" for code in names))
        for status, names in by_status.items()
    }


# Who may, and how much at a time.


class SignedIn(BasePermission):
    """A trader's token or cookie; without one 401, by the authentication class."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.user is not None
