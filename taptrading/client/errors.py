"""What can go wrong between a trader's program and the platform.

ClientError
 +- ApiError         the platform refused the request and says why
 +- Unreachable      nothing was sent, or nothing answered; the request had no effect
 +- OutcomeUnknown   the request was sent and its answer is lost
 +- NotPlaced        the answer was lost, and the bet is known not to exist
 +- BadReply         the platform answered something that the contract does not know
"""

from typing import Any


class ClientError(Exception):
    """Something went wrong between this program and the platform."""


class ApiError(ClientError):
    """A refusal of the contract. `status` is 0 when it came over the WebSocket."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        detail: dict[str, Any] | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.detail: dict[str, Any] = detail or {}
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    @property
    def is_same_request(self) -> bool:
        """The nonce is used, by this very request: an earlier attempt arrived, and `detail` has
        what came of it."""
        return self.code == "nonce_reused" and self.detail.get("same_request") is True


class Unreachable(ClientError):
    """The platform cannot be reached; the request had no effect."""


class OutcomeUnknown(ClientError):
    """The request was sent, but its answer is lost."""


class NotPlaced(ClientError):
    """The answer was lost, and no bet with this nonce exists or ever will."""


class BadReply(ClientError):
    """The platform answered something that the contract does not know."""
