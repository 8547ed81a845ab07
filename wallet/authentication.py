"""Who a request comes from: a trader's token, as Bearer or as a cookie with Django's CSRF check.

The database keeps only the SHA-256 of a token. REST framework loads this file while it loads
itself, so it imports none of its views.
"""

import hashlib
from typing import Final, NamedTuple, cast

from django.conf import settings
from django.http import HttpRequest
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.request import Request

from taptrading import clock
from taptrading.errors import ApiError
from taptrading.rows import fetch

_TOKEN_CHARACTERS_MAX = 100
# Every request of the signed-in begins with it: as a QuerySet it took longer than most answers.
_SESSION: Final = """
    SELECT session.wallet_id, wallet.address
    FROM wallet_tradersession AS session JOIN wallet_wallet AS wallet ON wallet.id = wallet_id
    WHERE token_sha256 = %s AND revoked_at IS NULL AND expires_at > %s
"""


class Trader(NamedTuple):
    """A signed-in trader: `request.user` of every view that needs a session."""

    wallet_id: int
    address: str
    token: str

    @property
    def is_authenticated(self) -> bool:
        return True


def trader_of(request: Request) -> Trader:
    """Who asks, in a view that admits only the signed-in."""
    return cast(Trader, request.user)


def token_sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def session_of_token(token: str) -> Trader | None:
    """Whose live session this is; one read of the database."""
    if not token.isascii() or len(token) > _TOKEN_CHARACTERS_MAX:
        return None
    rows = fetch(_SESSION, [token_sha256(token), clock.now_us()])
    if not rows:
        return None
    wallet_id, address = rows[0]
    return Trader(wallet_id, address, token)


class SessionTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`, or the session cookie with `X-CSRFToken`."""

    def authenticate(self, request: Request) -> tuple[Trader, str] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._trader(token.strip()), "bearer"
        cookie = request.COOKIES.get(settings.SESSION_COOKIE)
        if not cookie:
            return None
        trader = self._trader(cookie)
        check_csrf(request._request)
        return trader, "cookie"

    def _trader(self, token: str) -> Trader:
        trader = session_of_token(token)
        if trader is None:
            raise exceptions.AuthenticationFailed
        return trader

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="taptrading"'


def check_csrf(request: HttpRequest) -> None:
    """Raises ApiError (csrf_failed) on an unsafe method that another site could have sent."""
    check = CSRFCheck(lambda _: None)  # type: ignore[arg-type]
    check.process_request(request)
    if check.process_view(request, None, (), {}) is not None:  # type: ignore[arg-type]
        raise ApiError("csrf_failed")
