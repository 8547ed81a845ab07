"""Sign-In with Ethereum: nonces, who signed in, and the sessions that come of it.

Nonces live in Redis and are used once; sessions live in the database as the SHA-256 of their
token. The first sign-in of an address opens its wallet, by a command to the writer.
"""

import functools
import secrets
from typing import Final, NamedTuple

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from taptrading import clock
from taptrading.errors import ApiError, Refusal
from taptrading.limits import LIMITS
from wallet import link, signing
from wallet.authentication import token_sha256
from wallet.eip4361 import MessageError, SignInMessage, parse
from wallet.models import TraderSession, Wallet
from wallet.transfers import OpenWallet

_REDIS_TIMEOUT_S: Final = 2.0
_SCHEMES: Final = (None, "http", "https")


class Session(NamedTuple):
    """A fresh sign-in. Nobody but the trader ever sees the token again."""

    token: str
    expires_at_us: int
    address: str


@functools.cache
def _redis(url: str) -> "redis.Redis":
    # One retry at once, for a connection that died since; never a wait with back-off.
    return redis.Redis.from_url(
        url,
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )


def _nonce_key(nonce: str) -> str:
    return f"tap:signin:{nonce}"


def new_nonce(now_us: int) -> tuple[str, int]:
    """A nonce for one sign-in, and when it expires (us). Raises redis.RedisError."""
    nonce = secrets.token_hex(16)
    _redis(settings.REDIS_URL).set(_nonce_key(nonce), b"1", ex=LIMITS.signin_nonce_s)
    return nonce, now_us + LIMITS.signin_nonce_s * clock.US_PER_S


def _use_nonce(nonce: str) -> bool:
    """True once."""
    return _redis(settings.REDIS_URL).getdel(_nonce_key(nonce)) is not None


def sign_in(text: str, signature: bytes, now_us: int) -> Session:
    """Check the message and who signed it, open a wallet if there is none, open a session.

    Raises ApiError, redis.RedisError, DependencyError.
    """
    try:
        message = parse(text)
    except MessageError as error:
        raise ApiError("invalid_request", f"Not a sign-in message: {error}.") from None
    refusal = check_message(message, now_us) or _check_signer(text, message, signature)
    if refusal is not None:
        raise ApiError.of(refusal)
    if not _use_nonce(message.nonce):
        raise ApiError("invalid_nonce")
    return _open_session(_wallet_of(message.address), message.address, now_us)


def check_message(message: SignInMessage, now_us: int) -> Refusal | None:
    """Is it for this platform, and for now? Pure but for the settings."""
    if message.domain != settings.DOMAIN or message.scheme not in _SCHEMES:
        return Refusal("wrong_domain", {"domain": settings.DOMAIN})
    if message.chain_id != settings.CHAIN_ID:
        return Refusal("wrong_chain", {"chain_id": settings.CHAIN_ID})
    if abs(now_us - message.issued_at_us) > LIMITS.signin_nonce_s * clock.US_PER_S:
        return Refusal("message_expired", {"server_time": clock.iso_ms(now_us)})
    if message.expires_at_us is not None and now_us >= message.expires_at_us:
        return Refusal("message_expired")
    if message.not_before_us is not None and now_us < message.not_before_us:
        return Refusal("message_expired")
    return None


def _check_signer(text: str, message: SignInMessage, signature: bytes) -> Refusal | None:
    recovered = signing.recover_text(text.encode(), signature)
    if recovered == message.address:
        return None
    return Refusal("bad_signature", {"recovered": recovered, "expected": message.address})


def _wallet_of(address: str) -> int:
    known = Wallet.objects.filter(address=address).values_list("id", flat=True).first()
    if known is not None:
        return known
    outcome = link.call(OpenWallet(address))
    if isinstance(outcome, Refusal):
        raise ApiError.of(outcome)
    return int(outcome.id)


def _open_session(wallet_id: int, address: str, now_us: int) -> Session:
    token = secrets.token_urlsafe(32)
    expires_at_us = now_us + LIMITS.session_s * clock.US_PER_S
    TraderSession.objects.create(
        token_sha256=token_sha256(token),
        wallet_id=wallet_id,
        created_at=clock.from_us(now_us),
        expires_at=clock.from_us(expires_at_us),
    )
    return Session(token, expires_at_us, address)


def sign_out(tokens: set[str], now_us: int) -> None:
    """Revoke these tokens."""
    TraderSession.objects.filter(
        token_sha256__in=[token_sha256(token) for token in tokens], revoked_at=None
    ).update(revoked_at=clock.from_us(now_us))
