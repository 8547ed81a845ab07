"""Wallets, bets and ledger entries, with the constraints that have the last word."""

from django.db import models
from django.db.models import Q


class Wallet(models.Model):
    address = models.CharField(max_length=42, unique=True)
    balance_micros = models.BigIntegerField()
    frozen = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(balance_micros__gte=0), name="peer_not_negative")
        ]

    def __str__(self) -> str:
        return self.address


class Bet(models.Model):
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="bets", db_index=False)
    column_start = models.BigIntegerField()
    low_cents = models.BigIntegerField()
    high_cents = models.BigIntegerField()
    stake_micros = models.BigIntegerField()
    min_rate_bps = models.BigIntegerField()
    rate_bps = models.BigIntegerField()
    nonce = models.UUIDField()
    timestamp = models.BigIntegerField()
    signature = models.BinaryField(max_length=65)
    status = models.CharField(max_length=9, default="accepted")
    accepted_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "nonce"], name="peer_nonce"),
            models.UniqueConstraint(
                fields=["wallet", "column_start", "low_cents"], name="peer_one_per_cell"
            ),
        ]

    def __str__(self) -> str:
        return f"bet {self.pk}"


class LedgerEntry(models.Model):
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="entries")
    bet = models.ForeignKey(Bet, models.PROTECT, related_name="entries")
    kind = models.CharField(max_length=10)
    amount_micros = models.BigIntegerField()
    balance_after_micros = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.bet_id}"
