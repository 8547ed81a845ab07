"""Sign-in, sign-out and session keys over HTTP: parse, one call into the core, render."""

from typing import Any

from django.conf import settings
from django.middleware.csrf import rotate_token
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taptrading import clock, security
from taptrading.api import CursorPage, SignedIn, error_responses
from taptrading.errors import ApiError
from taptrading.limiter import TokenBuckets, Verdict
from taptrading.limits import LIMITS
from wallet import session_keys, signin
from wallet.authentication import trader_of
from wallet.listing import SESSION_KEYS
from wallet.models import SessionKey
from wallet.serializers import (
    LoginInput,
    LoginOutput,
    NonceInput,
    NonceOutput,
    SessionKeyInput,
    SessionKeyOutput,
)

KEY_ID = OpenApiParameter("key_id", OpenApiTypes.STR, OpenApiParameter.PATH)

buckets = TokenBuckets(
    burst=LIMITS.signin_per_minute,
    period_us=60 * clock.US_PER_S // LIMITS.signin_per_minute,
)


class SignInView(APIView):
    """Needs no session, is limited by client address, and says so in RateLimit-* headers."""

    authentication_classes = ()
    permission_classes = ()
    verdict: Verdict | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        address = request.META.get("REMOTE_ADDR") or ""
        self.verdict = buckets.take(address, clock.monotonic_us())
        if not self.verdict.allowed:
            raise ApiError("rate_limited", retry_after_s=self.verdict.retry_after_s)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.verdict is not None:
            for name, value in self.verdict.headers().items():
                response[name] = value
        return response


class NonceView(SignInView):
    @extend_schema(
        operation_id="auth_nonce",
        request=NonceInput,
        responses={
            200: NonceOutput,
            **error_responses("invalid_request", "rate_limited", "dependency_unavailable"),
        },
    )
    def post(self, request: Request) -> Response:
        """A nonce for one sign-in."""
        NonceInput(data=request.data).is_valid(raise_exception=True)
        nonce, expires_at_us = signin.new_nonce(clock.now_us())
        return Response({"nonce": nonce, "expires_at": clock.iso_ms(expires_at_us)})


class LoginView(SignInView):
    @extend_schema(
        operation_id="auth_login",
        request=LoginInput,
        responses={
            200: LoginOutput,
            **error_responses(
                "invalid_request",
                "wrong_domain",
                "wrong_chain",
                "message_expired",
                "bad_signature",
                "invalid_nonce",
                "rate_limited",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Sign in with a signed EIP-4361 message; the first sign-in registers."""
        form = LoginInput(data=request.data)
        form.is_valid(raise_exception=True)
        login = form.validated_data
        try:
            session = signin.sign_in(login["message"], login["signature"], clock.now_us())
        except ApiError as error:
            if error.refusal.code == "bad_signature":
                client = request.META.get("REMOTE_ADDR") or ""
                security.bad_signatures.seen(client, clock.now_us())
            raise
        response = Response(
            {
                "token": session.token,
                "expires_at": clock.iso_ms(session.expires_at_us),
                "wallet": session.address,
            }
        )
        response.set_cookie(
            settings.SESSION_COOKIE,
            session.token,
            max_age=LIMITS.session_s,
            httponly=True,
            samesite="Lax",
            secure=settings.PRODUCTION,
        )
        rotate_token(request._request)  # Django's middleware sets the cookie that holds it
        return response


class LogoutView(APIView):
    @extend_schema(
        operation_id="auth_logout",
        request=None,
        responses={204: None, **error_responses("unauthenticated", "csrf_failed")},
    )
    def post(self, request: Request) -> Response:
        """Revoke the token and the cookie of this request."""
        tokens = {trader_of(request).token, request.COOKIES.get(settings.SESSION_COOKIE, "")}
        signin.sign_out(tokens, clock.now_us())
        response = Response(status=204)
        response.delete_cookie(settings.SESSION_COOKIE, samesite="Lax")
        return response


class SessionKeysView(ListAPIView[SessionKey]):
    serializer_class = SessionKeyOutput
    pagination_class = CursorPage

    def get_authenticators(self) -> list[Any]:
        # The signature is the authority of POST: a stale cookie beside it must not matter.
        posts = self.request is not None and self.request.method == "POST"
        return [] if posts else super().get_authenticators()

    def get_permissions(self) -> list[Any]:
        return [] if self.request.method == "POST" else [SignedIn()]

    def get_queryset(self) -> Any:
        return SESSION_KEYS.where(("wallet_id = %s", trader_of(self.request).wallet_id))

    @extend_schema(
        operation_id="session_keys_list",
        responses={
            200: SessionKeyOutput(many=True),
            **error_responses("invalid_request", "unauthenticated"),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """This wallet's session keys, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="session_keys_authorize",
        auth=[],
        request=SessionKeyInput,
        responses={
            201: SessionKeyOutput,
            **error_responses(
                "invalid_request",
                "wrong_chain",
                "bad_signature",
                "timestamp_expired",
                "timestamp_in_future",
                "unknown_wallet",
                "nonce_reused",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Let a key sign bets for a wallet, within caps; signed by the wallet itself."""
        form = SessionKeyInput(data=request.data)
        form.is_valid(raise_exception=True)
        key = session_keys.authorize(form.validated_data, clock.now_us())
        return Response(SessionKeyOutput(key).data, status=201)


class SessionKeyView(APIView):
    @extend_schema(
        operation_id="session_keys_revoke",
        parameters=[KEY_ID],
        responses={
            204: None,
            **error_responses(
                "unauthenticated",
                "csrf_failed",
                "not_found",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def delete(self, request: Request, key_id: int) -> Response:
        """Revoke a session key."""
        session_keys.revoke(trader_of(request).wallet_id, key_id)
        return Response(status=204)
