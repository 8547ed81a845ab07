"""What operators wish for and what everybody did: proposals and the audit log.

A proposal is a deed that takes two people. It moves no money itself: once a second person has
approved it, it is a command to the writer, under the proposal's own id.

    open -> approved -> done | refused (by the writer)
         -> rejected | expired
"""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from taptrading.fields import TimeUsField
from wallet.models import Wallet, Withdrawal


class AuditEntry(models.Model):
    """Append-only by trigger: a row may go once its `keep_until` is past."""

    at = TimeUsField()
    keep_until = TimeUsField(db_index=True)
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=64)
    subject = models.CharField(max_length=100)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.CharField(max_length=500)
    request_id = models.CharField(max_length=64)
    client = models.CharField(max_length=64)
    source = models.CharField(max_length=64, null=True, unique=True)

    class Meta:
        verbose_name_plural = "audit entries"
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["actor", "id"], name="audit_actor"),
            models.Index(fields=["action", "id"], name="audit_action"),
            models.Index(fields=["subject", "id"], name="audit_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class Proposal(models.Model):
    class Kind(models.TextChoices):
        FUNDING = "funding", "house funding"
        PROFIT = "profit", "profit withdrawal"
        ADJUSTMENT = "adjustment", "adjustment"
        WITHDRAWAL = "withdrawal", "withdrawal approval"
        UNFREEZE = "unfreeze", "unfreezing a wallet"

    class State(models.TextChoices):
        OPEN = "open"
        REJECTED = "rejected"
        APPROVED = "approved"
        DONE = "done"
        REFUSED = "refused"
        EXPIRED = "expired"

    kind = models.CharField(max_length=10, choices=Kind)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    # Of an adjustment: what the wallet gets from the house, or, below zero, gives to it.
    amount_micros = models.BigIntegerField(null=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, null=True, related_name="+")
    withdrawal = models.ForeignKey(Withdrawal, models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=500)
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    proposed_at = TimeUsField()
    expires_at = TimeUsField()  # nobody approves it from then on
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    decided_at = TimeUsField(null=True)
    carried_out_at = TimeUsField(null=True)
    outcome = models.CharField(max_length=200, default="")  # the writer's, in words
    entry_id = models.BigIntegerField(null=True, unique=True)  # the ledger's, if it has one

    class Meta:
        default_permissions = ("view",)
        permissions = [
            ("watch_operations", "Can see the operations page"),
            ("trace_money", "Can trace money, bets and wallets"),
            ("override_breaker", "Can override the breaker"),
            ("freeze_wallet", "Can freeze a wallet"),
            ("reject_withdrawal", "Can reject a withdrawal that is held"),
            ("propose_money", "Can propose what takes two people"),
            ("approve_money", "Can approve or reject what another one proposed"),
            ("reset_two_factor", "Can take away somebody's second factor"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["open", "rejected", "expired"])
                | (Q(decided_by__isnull=False) & ~Q(decided_by=F("proposed_by"))),
                name="proposal_two_people",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "rejected", "expired"])
                | Q(decided_at__lt=F("expires_at")),
                name="proposal_in_time",
            ),
            models.CheckConstraint(
                condition=(Q(kind="adjustment", wallet__isnull=False) & ~Q(amount_micros=0))
                | Q(kind__in=["funding", "profit", "withdrawal"], amount_micros__gt=0)
                | Q(kind="unfreeze", amount_micros__isnull=True),
                name="proposal_amount",
            ),
            models.UniqueConstraint(
                fields=["withdrawal"],
                condition=Q(state__in=["open", "approved"], withdrawal__isnull=False),
                name="proposal_of_withdrawal_once",
            ),
            models.UniqueConstraint(
                fields=["wallet"],
                condition=Q(state__in=["open", "approved"], kind="unfreeze"),
                name="proposal_of_unfreezing_once",
            ),
        ]

    def __str__(self) -> str:
        return f"proposal {self.pk}: {self.get_kind_display()}"

    @property
    def reference(self) -> str:
        """What the ledger calls it; a reference moves money once."""
        return f"proposal:{self.pk}"


class Reconciliation(models.Model):
    """The custodian's holdings compared with the ledger at one time; `mismatch_micros` is what
    payouts under way do not explain. `source`: who told the holdings."""

    at = TimeUsField()
    source = models.CharField(max_length=64)
    owed_micros = models.BigIntegerField()
    under_way_micros = models.BigIntegerField()
    held_micros = models.BigIntegerField()
    mismatch_micros = models.BigIntegerField()

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"reconciliation {self.pk}"
