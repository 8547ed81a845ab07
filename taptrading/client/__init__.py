"""The Python client that traders, load tests and tests use.

Written from the contract; imports nothing of the house but `taptrading.money`.
"""

from taptrading.client.api import Client
from taptrading.client.errors import (
    ApiError,
    BadReply,
    ClientError,
    NotPlaced,
    OutcomeUnknown,
    Unreachable,
)
from taptrading.client.signed import SignedBet, SignedSessionKey, SignedWithdrawal
from taptrading.client.signing import LocalKey
from taptrading.client.stream import Frame, Stream

__all__ = [
    "ApiError",
    "BadReply",
    "Client",
    "ClientError",
    "Frame",
    "LocalKey",
    "NotPlaced",
    "OutcomeUnknown",
    "SignedBet",
    "SignedSessionKey",
    "SignedWithdrawal",
    "Stream",
    "Unreachable",
]
