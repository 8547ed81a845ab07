"""What operators fill in. Amounts in USDC, wallets by address or id."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from pricefeed.breaker import AUTO, FORCE_CLOSE, FORCE_OPEN
from taptrading.money import MAX_INT, parse_usdc
from wallet.models import Wallet, Withdrawal

MINUTES_MAX = 7 * 24 * 60


class WalletField(forms.CharField):
    """A player's wallet, by its address or its id."""

    def __init__(self, **more: Any) -> None:
        super().__init__(max_length=42, label="Wallet (address or id)", **more)

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value)).lower()
        players = Wallet.objects.filter(kind=Wallet.Kind.PLAYER)
        number = _number(text)
        found = players.filter(pk=number) if number is not None else players.filter(address=text)
        wallet = found.first()
        if wallet is None:
            raise ValidationError("No player has this wallet.")
        return wallet


class WithdrawalField(forms.CharField):
    def __init__(self, **more: Any) -> None:
        super().__init__(max_length=19, label="Withdrawal (id)", **more)

    def clean(self, value: Any) -> Any:
        number = _number(str(super().clean(value)))
        withdrawal = Withdrawal.objects.filter(pk=number).first() if number is not None else None
        if withdrawal is None:
            raise ValidationError("There is no such withdrawal.")
        if withdrawal.status != Withdrawal.Status.HELD:
            raise ValidationError(f"The withdrawal is {withdrawal.status} already.")
        return withdrawal


class UsdcField(forms.CharField):
    """Decimal text in, micros out."""

    def __init__(self, *, signed: bool = False, **more: Any) -> None:
        self._signed = signed
        super().__init__(max_length=22, **more)

    def clean(self, value: Any) -> Any:
        try:
            micros = parse_usdc(str(super().clean(value)))
        except ValueError:
            raise ValidationError("An amount is a decimal number, such as 1250.50.") from None
        if micros == 0 or (micros < 0 and not self._signed):
            raise ValidationError("The amount must be above zero.")
        return micros


def reason_field() -> forms.CharField:
    return forms.CharField(
        min_length=3,
        max_length=200,
        label="Reason",
        widget=forms.Textarea({"rows": 2, "cols": 60}),
        help_text="Kept in the audit log.",
    )


class BreakerForm(forms.Form):
    state = forms.ChoiceField(
        label="Override",
        choices=[
            (FORCE_OPEN, "open: refuse every bet"),
            (FORCE_CLOSE, "close: skip the 30 s of recovery, never the age of the price"),
            (AUTO, "auto: no override"),
        ],
    )
    minutes = forms.IntegerField(
        label="For so many minutes",
        min_value=1,
        max_value=MINUTES_MAX,
        initial=15,
        help_text="Then the breaker judges by itself again. Of no consequence for auto.",
    )
    reason = reason_field()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["reason"].help_text = "Public: traders read it. Kept in the audit log."


class WalletForm(forms.Form):
    wallet = WalletField()
    reason = reason_field()


class WithdrawalForm(forms.Form):
    withdrawal = WithdrawalField()
    reason = reason_field()


class AmountForm(forms.Form):
    amount = UsdcField(label="Amount (USDC)")
    reason = reason_field()


class AdjustmentForm(forms.Form):
    wallet = WalletField()
    amount = UsdcField(
        label="Amount (USDC)",
        signed=True,
        help_text="What the wallet gets from the house; with a minus, what it gives to it.",
    )
    reason = reason_field()


def _number(text: str) -> int | None:
    if text.isascii() and text.isdecimal() and int(text) <= MAX_INT:
        return int(text)
    return None
