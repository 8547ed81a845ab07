"""Requests below /admin/: on whose behalf, for the audit log, and what their pages may load."""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase

from taptrading import audit
from taptrading.api import request_id
from taptrading.audit import Origin
from taptrading.logs import mask_client

# Nothing but our own files; the picture of a new device's key is in the page itself.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class Acting:
    """After the middleware that knows the user."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith("/admin/"):
            return self.get_response(request)
        with audit.on_behalf(origin_of(request)):
            response = self.get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response


def origin_of(request: HttpRequest) -> Origin:
    user: Any = request.user
    actor = user.get_username() if user.is_authenticated else audit.NOBODY
    return Origin(actor, request_id(request), mask_client(request.META.get("REMOTE_ADDR") or ""))
