"""Django's middleware for pages, which the API passes by: it has no pages, no staff session and
no static files. They stand in the settings under these names, where Django's checks look for
their base classes. And a bound on the API's bodies, and a count of all answers."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin
from django_otp.middleware import OTPMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from taptrading.api import error_body, request_id
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from taptrading.metrics import SEEN, UNROUTED, answered, template_of


class _PagesOnly:
    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith("/api/v1/"):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class StaticFiles(_PagesOnly, WhiteNoiseMiddleware):  # type: ignore[misc]
    pass


class StaffSessions(_PagesOnly, SessionMiddleware):
    pass


class Staff(_PagesOnly, AuthenticationMiddleware):
    pass


class SecondFactor(_PagesOnly, OTPMiddleware):  # type: ignore[misc]
    """Says of the user whether a device of theirs has verified this session."""


class Messages(_PagesOnly, MessageMiddleware):
    pass


class Counted:
    """Counts answers by the route that Django found, in the web process through the scope, which
    knows of the wait for a thread as well."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        started = perf_counter()
        response = self.get_response(request)
        seen = getattr(request, "scope", {}).get(SEEN)
        if seen is not None:
            seen.endpoint = _endpoint_of(request)
        else:
            seconds = perf_counter() - started
            answered(request.method or "", _endpoint_of(request), response.status_code, seconds)
        return response


def _endpoint_of(request: HttpRequest) -> str:
    if request.resolver_match is not None:
        return template_of(request.resolver_match.route)
    if request.path_info.startswith(settings.STATIC_URL):
        return f"{settings.STATIC_URL}<file>"
    return UNROUTED


class ShortBodies(MiddlewareMixin):
    """The web process refuses a long body before Django sees it; in a WSGI worker nobody else
    does. A body that announces no length is none to Django."""

    def process_request(self, request: HttpRequest) -> JsonResponse | None:
        length = request.META.get("CONTENT_LENGTH", "")
        short = not length.isdecimal() or int(length) <= LIMITS.body_bytes
        if short or not request.path_info.startswith("/api/"):
            return None
        refusal = Refusal("too_large", {"limit_bytes": LIMITS.body_bytes})
        return JsonResponse(error_body(refusal, request_id(request)), status=refusal.status)
