"""Django's middleware for pages, which the API passes by: it has no pages, no staff session and
no static files. They stand in the settings under these names, where Django's checks look for
their base classes."""

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware


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
