"""The custodian's side of POST custody/events: an event, signed with the shared secret.

For tests and for a custodian's own adapter; a trader never holds this secret.
"""

import hashlib
import hmac
from typing import Literal

import msgspec

from taptrading.client.base import Base
from taptrading.client.transport import Repeat


class CustodyEvent(msgspec.Struct, frozen=True, kw_only=True):
    event_id: str
    type: Literal["deposit.confirmed", "withdrawal.completed", "withdrawal.failed"]
    reference: str
    address: str
    amount_micros: int


def custody_headers(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    signed = str(timestamp).encode() + b"." + body
    return {
        "X-Custody-Timestamp": str(timestamp),
        "X-Custody-Signature": hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest(),
    }


def report_event(client: Base, secret: str, event: CustodyEvent) -> None:
    """Safe to repeat: the platform applies an event once, by its id."""
    body = msgspec.json.encode(event)
    headers = custody_headers(secret, client.now_us() // 1_000_000, body)
    client.transport.send("POST", "custody/events", Repeat.ALWAYS, body=body, headers=headers)
