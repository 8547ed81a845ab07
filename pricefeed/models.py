"""Recorded prices, and who overrode the breaker. Written by the price feed and operators."""

from django.db import models

from taptrading.fields import MintedIdField, TimeUsField


class Tick(models.Model):
    """One index tick on a 100 ms mark, with what its rates are computed from.

    `sigma_ppm` is the annualised volatility in millionths (0 while warming up: no cells),
    `overshoot_e12` the measured mean overshoot of the log index times 10^12 (see rates.md).
    """

    seq = MintedIdField(primary_key=True)
    at = TimeUsField(unique=True)
    price_cents = models.BigIntegerField()
    sigma_ppm = models.BigIntegerField()
    overshoot_e12 = models.BigIntegerField()
    sources = models.CharField(max_length=100)
    recorded_at = TimeUsField()

    def __str__(self) -> str:
        return f"tick {self.seq}"


class BreakerOverride(models.Model):
    """Who told the breaker what, why, when and until when. Append-only; the newest one counts."""

    state = models.CharField(max_length=5, choices=[(s, s) for s in ("auto", "open", "close")])
    reason = models.CharField(max_length=200)
    by = models.CharField(max_length=150)
    created_at = TimeUsField()
    until = TimeUsField(null=True)

    class Meta:
        indexes = [models.Index(fields=["-created_at"], name="override_newest")]

    def __str__(self) -> str:
        return f"{self.state} by {self.by}"


class SourceChoice(models.Model):
    """Who chose which sources, and why. Append-only; the newest one counts, and an empty one means
    those of the settings."""

    sources = models.CharField(max_length=100)  # names with commas between
    reason = models.CharField(max_length=200)
    by = models.CharField(max_length=150)
    created_at = TimeUsField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.sources or "as configured"


class BreakerChange(models.Model):
    """The breaker was in one state and is in another. Append-only."""

    at = TimeUsField()
    before = models.CharField(max_length=8)  # empty: the feed has just started
    after = models.CharField(max_length=8)
    override = models.CharField(max_length=5)
    reason = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}"
