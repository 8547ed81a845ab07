"""Bets, what the house stands to pay, and the evidence that decided columns.

All three are written by the writer process only. The life of a bet:

    accepted -> confirmed -> won | lost | void
             -> rejected

Status moves in the transaction that moves the money.
"""

from typing import Self

from django.db import models
from django.db.models import Q

from taptrading.fields import MintedIdField, TimeUsField
from wallet.models import SessionKey, Wallet


class BetQuerySet(models.QuerySet["Bet"]):
    def open(self) -> Self:
        """Accepted or confirmed, by the small index of such bets."""
        return self.filter(taken_low_cents__isnull=False, resolved_at__isnull=True)


class Bet(models.Model):
    """Indexes are written when a bet is placed; pricing must leave them all as they are, and
    settlement touches `bet_open` only. So none of them depends on what these two change."""

    class Status(models.TextChoices):
        ACCEPTED = "accepted"
        CONFIRMED = "confirmed"
        REJECTED = "rejected"
        WON = "won"
        LOST = "lost"
        VOID = "void"

    id = MintedIdField(primary_key=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="bets", db_index=False)
    house = models.ForeignKey(Wallet, models.PROTECT, related_name="+", db_index=False)
    session_key = models.ForeignKey(SessionKey, models.PROTECT, null=True, db_index=False)
    column_start = models.BigIntegerField()  # Unix seconds
    low_cents = models.BigIntegerField()
    high_cents = models.BigIntegerField()
    # `low_cents` again while the bet takes its cell; null once it is rejected.
    taken_low_cents = models.BigIntegerField(null=True)
    stake_micros = models.BigIntegerField()
    min_rate_bps = models.BigIntegerField()
    nonce = models.UUIDField()
    timestamp = models.BigIntegerField()  # Unix seconds, as signed
    signature = models.BinaryField(max_length=65)
    status = models.CharField(max_length=9, choices=Status)
    reason = models.CharField(max_length=32, default="")
    rate_bps = models.BigIntegerField(null=True)
    pricing_tick = models.BigIntegerField(null=True)  # Tick.seq; ticks are pruned, bets are not
    payout_micros = models.BigIntegerField(null=True)
    cursor = models.BigIntegerField()  # the wallet's cursor at the last change
    accepted_at = TimeUsField()
    confirmed_at = TimeUsField(null=True)
    resolved_at = TimeUsField(null=True)

    objects = BetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "nonce"], name="bet_nonce"),
            models.UniqueConstraint(
                fields=["column_start", "taken_low_cents", "wallet"],  # new ones side by side
                condition=Q(taken_low_cents__isnull=False),
                name="bet_one_per_cell",
            ),
            models.CheckConstraint(condition=Q(stake_micros__gt=0), name="bet_stake_positive"),
        ]
        indexes = [
            models.Index(fields=["wallet", "id"], name="bet_wallet"),
            models.Index(
                fields=["column_start", "id"],
                condition=Q(taken_low_cents__isnull=False, resolved_at__isnull=True),
                name="bet_open",
            ),
        ]

    def __str__(self) -> str:
        return f"bet {self.pk}"

    @property
    def cell_id(self) -> str:
        return f"{self.column_start}_{self.low_cents}_{self.high_cents}"


class CellExposure(models.Model):
    """What the house would pay if this cell were touched: the payouts of its confirmed bets."""

    house = models.ForeignKey(Wallet, models.PROTECT, related_name="+", db_index=False)
    column_start = models.BigIntegerField()
    low_cents = models.BigIntegerField()
    liability_micros = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["house", "column_start", "low_cents"], name="exposure_cell"
            ),
            models.CheckConstraint(
                condition=Q(liability_micros__gte=0), name="exposure_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.column_start}_{self.low_cents}"


class Settlement(models.Model):
    """The decision about one column, made once, with the evidence. Kept for ever.

    `low_cents` and `high_cents` are those of the path; `ticks` its number of vertices.
    `evidence` is the deflated canonical text of the vertices, one `<at_ms> <price_cents>` a
    line; `ticks_sha256` is the SHA-256 of that text.
    """

    column_start = MintedIdField(primary_key=True)
    state = models.CharField(max_length=7, choices=[("settled", "settled"), ("void", "void")])
    reason = models.CharField(max_length=32, default="")
    open_cents = models.BigIntegerField(null=True)
    low_cents = models.BigIntegerField(null=True)
    high_cents = models.BigIntegerField(null=True)
    close_cents = models.BigIntegerField(null=True)
    ticks = models.IntegerField()
    max_gap_ms = models.BigIntegerField(null=True)
    sources = models.CharField(max_length=200, default="")
    ticks_sha256 = models.CharField(max_length=64)
    evidence = models.BinaryField()
    decided_at = TimeUsField()

    def __str__(self) -> str:
        return f"column {self.column_start}"
