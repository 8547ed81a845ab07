"""What wallet's resources take and give: names, types and forms of the contract."""

from typing import Any, Final

from django.db.models import Model
from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from taptrading import clock, rfc3339
from taptrading.limits import LIMITS
from taptrading.rows import row_of
from taptrading.strict import IntField, StrictSerializer, TextField
from wallet import signing
from wallet.authentication import trader_of
from wallet.eip4361 import MESSAGE_CHARACTERS_MAX
from wallet.guard import AMOUNTS
from wallet.history import LedgerLine
from wallet.listing import DepositRow, SessionKeyRow, WalletRow, WithdrawalRow
from wallet.models import Deposit, LedgerEntry, SessionKey, Withdrawal

# Far above any real event, far below what would overflow a balance.
EVENT_MAX_MICROS: Final = 10**17

END_OF_TIME_S: Final = 253_402_300_799  # of a datetime: the last second of the year 9999

_ADDRESS: Final = "`0x` and 40 hex digits, any case in, lower case out."
_TIME: Final = "RFC 3339, UTC, `Z`, three fraction digits."


# Fields


class AddressField(TextField):
    """-> lower case."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"help_text": _ADDRESS, **options})

    def to_internal_value(self, data: Any) -> str:
        address = signing.parse_address(super().to_internal_value(data))
        if address is None:
            raise serializers.ValidationError("An address is 0x and 40 hex digits.")
        return address


class SignatureField(TextField):
    """-> 65 bytes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"help_text": "`0x` and 130 hex digits.", **options})

    def to_internal_value(self, data: Any) -> bytes:  # type: ignore[override]
        signature = signing.parse_signature(super().to_internal_value(data))
        if signature is None:
            raise serializers.ValidationError("A signature is 0x and 130 hex digits.")
        return signature


class NonceField(TextField):
    def to_internal_value(self, data: Any) -> str:
        nonce = signing.parse_nonce(super().to_internal_value(data))
        if nonce is None:
            raise serializers.ValidationError("A nonce is a lower-case hyphenated UUID.")
        return nonce


class LabelField(TextField):
    def to_internal_value(self, data: Any) -> str:
        label = signing.parse_label(super().to_internal_value(data))
        if label is None:
            raise serializers.ValidationError("A label is 1 to 64 printable ASCII characters.")
        return label


class TimeField(serializers.CharField):
    """RFC 3339 text -> us."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"help_text": _TIME, "trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> int:  # type: ignore[override]
        at_us = rfc3339.parse_us(super().to_internal_value(data))
        if at_us is None:
            raise serializers.ValidationError("A time is RFC 3339 with an offset.")
        return at_us


class IdField(serializers.CharField):
    """Ids are text on the wire: they do not fit a JavaScript number."""


class RangeQuery(serializers.Serializer[Any]):
    """`?from=&to=`: one that is there has a value. A range may be empty, or run backwards."""

    to = TimeField(required=False)

    def get_fields(self) -> Any:
        return {**super().get_fields(), "from": TimeField(required=False)}

    def to_internal_value(self, data: Any) -> Any:
        # Of a QueryDict REST framework takes an empty value for none at all.
        return super().to_internal_value(data.dict() if isinstance(data, QueryDict) else data)

    @classmethod
    def asked(cls, request: Request) -> dict[str, Any]:
        """What the request asks for. Raises ValidationError.

        Most ask for nothing of it, and making the fields takes longer than reading a page.
        """
        given = request.query_params
        if given.keys().isdisjoint(("from", *cls._declared_fields)):
            return {}
        query = cls(data=given)
        query.is_valid(raise_exception=True)
        found: dict[str, Any] = query.validated_data
        return found


# Signing in


class NonceInput(StrictSerializer):
    """Nothing: `{}`."""


class NonceOutput(serializers.Serializer[Any]):
    nonce = serializers.CharField()
    expires_at = serializers.CharField(help_text=_TIME)


class LoginInput(StrictSerializer):
    message = TextField(max_length=MESSAGE_CHARACTERS_MAX, help_text="A message of EIP-4361.")
    signature = SignatureField()


class RowOutput(serializers.Serializer[Any]):
    """The fields say what a row's own `json` gives, which alone makes it. Takes models too."""

    row: type[Any]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.as_row(instance).json()
        return found

    def as_row(self, instance: Any) -> Any:
        return row_of(self.row, instance) if isinstance(instance, Model) else instance


class WalletOutput(RowOutput):
    row = WalletRow

    address = serializers.CharField()
    balance_micros = serializers.IntegerField()
    held_micros = serializers.IntegerField()
    open_stake_micros = serializers.IntegerField()
    frozen = serializers.BooleanField()


class LoginOutput(serializers.Serializer[Any]):
    token = serializers.CharField()
    expires_at = serializers.CharField(help_text=_TIME)
    wallet = serializers.CharField(help_text="The address, in lower case.")


# The ledger


class LedgerQuery(RangeQuery):
    kind = serializers.ChoiceField(LedgerEntry.Kind.choices, required=False)


class LedgerOutput(RowOutput):
    row = LedgerLine

    entry_id = IdField()
    kind = serializers.ChoiceField(LedgerEntry.Kind.choices)
    reference = serializers.CharField()
    amount_micros = serializers.IntegerField(help_text="Signed: this wallet's side.")
    balance_after_micros = serializers.IntegerField()
    created_at = TimeField()


class LedgerPage(serializers.Serializer[Any]):
    results = LedgerOutput(many=True)
    next = serializers.CharField(allow_null=True, help_text="A relative URL.")


# What players set for themselves


class UntilField(TimeField):
    """-> us, to the millisecond, which is how it goes out again."""

    def to_internal_value(self, data: Any) -> int:  # type: ignore[override]
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data) // clock.US_PER_MS * clock.US_PER_MS


def _own_limit() -> IntField:
    return IntField(required=False, allow_null=True, help_text="null: no limit. Absent: as it is.")


def _until() -> UntilField:
    return UntilField(
        required=False, allow_null=True, help_text=f"{_TIME} Later only. Absent: as it is."
    )


class PlayerLimitsInput(StrictSerializer):
    stake_max_micros = _own_limit()
    loss_day_max_micros = _own_limit()
    loss_week_max_micros = _own_limit()
    cool_off_until = _until()
    excluded_until = _until()

    def validate(self, attrs: Any) -> Any:
        if not attrs:
            raise serializers.ValidationError("Name what is to change.")
        return attrs


class PendingRaiseOutput(serializers.Serializer[Any]):
    limit = serializers.ChoiceField(AMOUNTS)
    micros = serializers.IntegerField(allow_null=True, help_text="null: no limit.")
    effective_at = serializers.CharField(help_text=_TIME)


class PlayerLimitsOutput(serializers.Serializer[Any]):
    stake_max_micros = serializers.IntegerField(allow_null=True, help_text="Of one bet.")
    loss_day_max_micros = serializers.IntegerField(allow_null=True)
    loss_week_max_micros = serializers.IntegerField(allow_null=True)
    pending = PendingRaiseOutput(many=True, help_text="Raises that wait: they hold by themselves.")
    loss_day_micros = serializers.IntegerField(
        allow_null=True,
        help_text="Stakes of the bets accepted in this UTC day less what they paid or gave back; "
        "open bets count as lost. null: nothing was ever set, so it is not counted.",
    )
    loss_week_micros = serializers.IntegerField(
        allow_null=True, help_text="The same of the week, which begins on Monday at 00:00 UTC."
    )
    day_ends_at = serializers.CharField(help_text=_TIME)
    week_ends_at = serializers.CharField(help_text=_TIME)
    cool_off_until = serializers.CharField(allow_null=True, help_text=_TIME)
    excluded_until = serializers.CharField(allow_null=True, help_text=_TIME)


# Deposits and withdrawals


class DepositInput(StrictSerializer):
    amount_micros = IntField(min_value=1, max_value=LIMITS.deposit_max_micros)


class DepositOutput(RowOutput):
    row = DepositRow

    deposit_id = IdField()
    status = serializers.ChoiceField(Deposit.Status.choices)
    amount_micros = serializers.IntegerField()
    created_at = TimeField()


class WithdrawalInput(StrictSerializer):
    amount_micros = IntField(min_value=1)
    to_address = AddressField()
    nonce = NonceField()
    timestamp = IntField()
    chain_id = IntField()
    signature = SignatureField()


class WithdrawalOutput(RowOutput):
    row = WithdrawalRow

    withdrawal_id = IdField()
    status = serializers.ChoiceField(Withdrawal.Status.choices)
    amount_micros = serializers.IntegerField()
    to_address = serializers.CharField()
    created_at = TimeField()


# Session keys


class SessionKeyInput(StrictSerializer):
    wallet = AddressField()
    key = AddressField()
    label = LabelField()  # type: ignore[assignment]
    expires_at = IntField(max_value=END_OF_TIME_S, help_text="Unix seconds.")
    max_stake_micros = IntField(min_value=1)
    max_total_micros = IntField(min_value=1)
    nonce = NonceField()
    timestamp = IntField()
    chain_id = IntField()
    signature = SignatureField()


class SessionKeyOutput(RowOutput):
    row = SessionKeyRow

    key_id = IdField()
    wallet = serializers.CharField()
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    expires_at = serializers.IntegerField(help_text="Unix seconds, as signed.")
    max_stake_micros = serializers.IntegerField()
    max_total_micros = serializers.IntegerField()
    used_micros = serializers.IntegerField()
    nonce = serializers.CharField()
    timestamp = serializers.IntegerField()
    chain_id = serializers.IntegerField()
    signature = serializers.CharField()
    revoked_at = TimeField(allow_null=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """A row is one of the trader who asks for it."""
        if isinstance(instance, SessionKey):
            wallet = instance.wallet.address or ""
        else:
            wallet = trader_of(self.context["request"]).address
        row: SessionKeyRow = self.as_row(instance)
        return row.json(wallet)


# Custody


class CustodyEventInput(StrictSerializer):
    event_id = TextField(max_length=100)
    type = serializers.ChoiceField(
        ["deposit.confirmed", "withdrawal.completed", "withdrawal.failed"]
    )
    reference = TextField(max_length=100, allow_blank=True)
    address = AddressField()
    amount_micros = IntField(min_value=1, max_value=EVENT_MAX_MICROS)


class CustodyEventOutput(serializers.Serializer[Any]):
    outcome = serializers.ChoiceField(["applied", "repeated", "unmatched"])
