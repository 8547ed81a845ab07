"""Django's middleware for pages, which the API passes by: it has no pages, no staff session and
no static files. They stand in the settings under these names, where Django's checks look for
their base classes. And a bound on the API's bodies."""

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin
from whitenoise.middleware import WhiteNoiseMiddleware

from taptrading.api import error_body, request_id
from taptrading.errors import Refusal
from taptrading.limits import LIMITS


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


class Messages(_PagesOnly, MessageMiddleware):
    pass


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
