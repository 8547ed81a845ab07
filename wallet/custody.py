"""The custodian: a port for money going out, signed events for what has happened to it.

Nothing is believed but a signed event, whoever the custodian is: the local one, which plays the
part in demo mode and development, reports through the very function that the webhook calls.
"""

import hashlib
import hmac
import json
from typing import Final, Protocol

from django.conf import settings
from django.db.models import Sum

from taptrading import clock, security
from taptrading.errors import ApiError, Refusal
from taptrading.limits import LIMITS
from taptrading.strict import parse_json_object
from wallet import link
from wallet.models import Deposit, LocalTransfer, Withdrawal
from wallet.serializers import CustodyEventInput
from wallet.transfers import CustodyReport, Reported

_TIMESTAMP_DIGITS_MAX: Final = 12
# Money sent here is lost, so the local custodian refuses to: the way to see a failure.
ZERO_ADDRESS: Final = "0x" + "00" * 20


class Custodian(Protocol):
    """Where the traders' money really is. `name` is what operators call it."""

    name: str

    def send(self, withdrawal_id: int, address: str, amount_micros: int) -> None:
        """Ask for a payout; the id makes it happen once however often it is asked for."""

    def ask(self, withdrawal_id: int) -> None:
        """Have an event about this payout sent again, if there is an outcome to report."""

    def holdings_micros(self) -> int:
        """What the custodian holds for us."""


def sign_event(secret: str, timestamp: str, body: bytes) -> str:
    """Hex HMAC-SHA256 over timestamp + "." + body."""
    message = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def receive_event(body: bytes, timestamp: str, signature: str) -> Reported:
    """Check one event's signature and form, and carry it out: once, however often it comes.

    Raises ApiError (bad_signature, invalid_request, too_large) or DependencyError.
    """
    if len(body) > LIMITS.body_bytes:
        raise ApiError("too_large", limit_bytes=LIMITS.body_bytes)
    try:
        _check_signature(body, timestamp, signature)
    except ApiError:
        security.event("custody_signature")
        raise
    event = CustodyEventInput(data=parse_json_object(body))
    event.is_valid(raise_exception=True)
    outcome = link.call(CustodyReport(**event.validated_data))
    if isinstance(outcome, Refusal):
        raise ApiError.of(outcome)
    assert isinstance(outcome, Reported)
    return outcome


def _check_signature(body: bytes, timestamp: str, signature: str) -> None:
    expected = sign_event(settings.CUSTODY_SECRET, timestamp, body)
    # Bytes, since compare_digest takes no text beyond ASCII; and before all else, in one time.
    if not hmac.compare_digest(expected.encode(), signature.lower().encode()):
        raise ApiError("bad_signature", "The event is not signed with the custody secret.")
    plain = timestamp.isascii() and timestamp.isdecimal()
    if not plain or len(timestamp) > _TIMESTAMP_DIGITS_MAX:
        raise ApiError("bad_signature", "The event's timestamp is not in whole seconds.")
    skew_us = clock.now_us() - int(timestamp) * clock.US_PER_S
    if abs(skew_us) > LIMITS.custody_skew_s * clock.US_PER_S:
        raise ApiError(
            "bad_signature", "The event was signed too long ago.", skew_ms=skew_us // 1_000
        )


class LocalCustodian:
    """A custodian with books of its own, in the table `LocalTransfer`."""

    name = "local"

    def receive(self, deposit: Deposit, address: str) -> None:
        """Play money arrives from nowhere, and is reported."""
        self._book(f"deposit:{deposit.pk}", address, deposit.amount_micros)
        _report(
            f"local:deposit:{deposit.pk}",
            "deposit.confirmed",
            deposit.pk,
            address,
            deposit.amount_micros,
        )

    def fund(self, reference: str, amount_micros: int) -> None:
        """Play money of the operator: what `FundHouse` of the same reference moves."""
        self._book(f"funding:{reference}", "", amount_micros)

    def take_profit(self, reference: str, amount_micros: int) -> None:
        """Play money goes back to the operator: what `Adjust` of the same reference moves."""
        self._book(f"profit:{reference}", "", -amount_micros)

    def send(self, withdrawal_id: int, address: str, amount_micros: int) -> None:
        sent_micros = 0 if address == ZERO_ADDRESS else amount_micros
        self._book(f"withdrawal:{withdrawal_id}", address, -sent_micros)

    def ask(self, withdrawal_id: int) -> None:
        transfer = LocalTransfer.objects.filter(key=f"withdrawal:{withdrawal_id}").first()
        if transfer is None:
            return
        kind = "withdrawal.completed" if transfer.amount_micros else "withdrawal.failed"
        row = Withdrawal.objects.get(pk=withdrawal_id)
        event_id = f"local:{kind}:{withdrawal_id}"
        _report(event_id, kind, withdrawal_id, row.to_address, row.amount_micros)

    def holdings_micros(self) -> int:
        return LocalTransfer.objects.aggregate(sum=Sum("amount_micros"))["sum"] or 0

    def _book(self, key: str, address: str, amount_micros: int) -> None:
        LocalTransfer.objects.get_or_create(
            key=key,
            defaults={
                "address": address,
                "amount_micros": amount_micros,
                "created_at": clock.now(),
            },
        )


def _report(event_id: str, kind: str, reference: int, address: str, amount_micros: int) -> None:
    """Sign and deliver an event, as any custodian would."""
    event = {
        "event_id": event_id,
        "type": kind,
        "reference": str(reference),
        "address": address,
        "amount_micros": amount_micros,
    }
    body = json.dumps(event).encode()
    timestamp = str(clock.now_s())
    receive_event(body, timestamp, sign_event(settings.CUSTODY_SECRET, timestamp, body))


local = LocalCustodian()


def custodian() -> Custodian | None:
    """None outside demo mode, until a custodian has an adapter: payouts wait, approved."""
    return local if settings.DEMO else None
