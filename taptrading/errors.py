"""Root of the error tree, and the one table of codes that clients see.

A refusal is a value (`Refusal`): the hot path returns it, never raises it. An edge that has
nothing else to do with its request raises `ApiError`, which carries the same value.

TapTradingError
 +- ApiError            a refusal on its way to a client
 +- DependencyError     the writer, Redis or the database cannot be reached right now
 |   +- OutcomeUnknown  the request was sent, its answer is lost
 +- Broken              an invariant does not hold: the process stops rather than go on
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec


class Code(msgspec.Struct, frozen=True):
    status: int
    message: str


CODES: Final[Mapping[str, Code]] = {
    # general
    "invalid_request": Code(400, "The request is not of the documented form."),
    "unauthenticated": Code(401, "Sign in first: this needs a valid token or session cookie."),
    "forbidden": Code(403, "You may not do this."),
    "csrf_failed": Code(403, "A cookie session needs the X-CSRFToken header here."),
    "not_found": Code(404, "There is nothing here under that name."),
    "method_not_allowed": Code(405, "This resource does not answer that method."),
    "too_large": Code(413, "The request body is too large."),
    "rate_limited": Code(429, "Too many requests: wait as Retry-After says and send it again."),
    "dependency_unavailable": Code(503, "A part of the platform is down: send it again shortly."),
    "being_restored": Code(503, "This stretch of history is being fetched: ask again shortly."),
    # signing in
    "bad_signature": Code(401, "The signature is not by this wallet or a key of its."),
    "invalid_nonce": Code(401, "This nonce is unknown, used or expired: ask for a new one."),
    "wrong_domain": Code(401, "The message names another domain than this platform's."),
    "wrong_chain": Code(401, "The request names another chain than this platform's."),
    "message_expired": Code(401, "The message is too old, expired or not valid yet."),
    # a bet, in order of precedence (with invalid_request, wrong_chain, bad_signature above)
    "timestamp_expired": Code(401, "The request was signed too long ago: sign it again."),
    "timestamp_in_future": Code(401, "The request is dated in the future: check your clock."),
    "unknown_wallet": Code(401, "This wallet has never signed in here."),
    "session_key_invalid": Code(401, "This session key is expired, revoked or over its caps."),
    "wallet_frozen": Code(403, "This wallet is frozen: ask support."),
    "breaker_open": Code(503, "Betting is suspended: the price feed is not trusted right now."),
    "price_stale": Code(503, "The newest price is too old to bet on."),
    "overloaded": Code(503, "The platform is full right now: send it again shortly."),
    "nonce_reused": Code(409, "This nonce already has a bet."),
    "cell_off_grid": Code(422, "No such cell is on the grid."),
    "cell_locked": Code(422, "This column no longer takes bets."),
    "stake_not_allowed": Code(422, "The stake is not one of the presets."),
    "rate_moved": Code(422, "The rate is below the smallest one you accept."),
    "limit_reached": Code(422, "The cell has not enough room left for this stake."),
    "player_limit": Code(422, "A limit that you set yourself refuses this bet."),
    "cell_taken": Code(409, "You already have a bet on this cell."),
    "insufficient_funds": Code(422, "The balance does not cover this amount."),
    "outcome_unknown": Code(504, "The answer was lost: ask bets/by-nonce what became of it."),
}


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="refusal"):
    """Why something was not done. `code` is a key of CODES; `detail` is JSON-ready."""

    code: str
    detail: dict[str, Any] = {}
    message: str = ""

    @property
    def status(self) -> int:
        return CODES[self.code].status

    @property
    def sentence(self) -> str:
        return self.message or CODES[self.code].message


class TapTradingError(Exception):
    """Something went wrong in TapTrading."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class ApiError(TapTradingError):
    """The request was refused."""

    def __init__(self, code: str, message: str = "", **detail: Any) -> None:
        self.refusal = Refusal(code, detail, message)
        super().__init__(self.refusal.sentence)

    @classmethod
    def of(cls, refusal: Refusal) -> "ApiError":
        return cls(refusal.code, refusal.message, **refusal.detail)


class DependencyError(TapTradingError):
    """A part of the platform cannot be reached right now."""


class OutcomeUnknown(DependencyError):
    """The command was sent to the writer, but its answer is lost."""


class Broken(TapTradingError):
    """An invariant does not hold."""
