"""The tables of money. Only the writer process writes those marked so; everything else reads.

Wallets are accounts: a trader's (PLAYER) or one of the platform's own. A ledger entry moves an
amount from one wallet to another, so books balance by construction:

    deposit    CUSTODY -> player        stake           player -> HOUSE
    hold       player  -> HOLD          payout, refund  HOUSE  -> player
    release    HOLD    -> player        withdrawal      HOLD   -> CUSTODY
    funding    CUSTODY -> HOUSE         adjustment      between any two, by two people

CUSTODY runs below zero by what the custodian holds for us; no other wallet may.
`Wallet.balance_micros` is the cached sum of its entries, changed in the same transaction.
"""

from django.db import models
from django.db.models import Case, F, Q, Value, When

from taptrading.fields import MintedIdField, TimeUsField


class Wallet(models.Model):
    """Written by the writer. The cached sums change with the entries that justify them."""

    class Kind(models.TextChoices):
        PLAYER = "player"
        HOUSE = "house"
        CUSTODY = "custody"
        HOLD = "hold"

    id = MintedIdField(primary_key=True)
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=42, unique=True, null=True)
    balance_micros = models.BigIntegerField(default=0)
    held_micros = models.BigIntegerField(default=0)
    open_stake_micros = models.BigIntegerField(default=0)
    cursor = models.BigIntegerField(default=0)
    frozen = models.BooleanField(default=False)
    # Has a row of PlayerLimits: nobody looks for that of a wallet that never asked for one.
    guarded = models.BooleanField(default=False, db_default=False)
    created_at = TimeUsField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="custody") | Q(balance_micros__gte=0),
                name="wallet_balance_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(held_micros__gte=0) & Q(open_stake_micros__gte=0),
                name="wallet_parts_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(kind="player", address__isnull=False)
                | (~Q(kind="player") & Q(address__isnull=True)),
                name="wallet_players_have_addresses",
            ),
        ]

    def __str__(self) -> str:
        return self.address or f"{self.kind} {self.pk}"


class LedgerEntry(models.Model):
    """Written by the writer, append-only by trigger. One row moves money from debit to credit."""

    class Kind(models.TextChoices):
        DEPOSIT = "DEPOSIT"
        STAKE = "STAKE"
        PAYOUT = "PAYOUT"
        REFUND = "REFUND"
        HOLD = "HOLD"
        RELEASE = "RELEASE"
        WITHDRAWAL = "WITHDRAWAL"
        FUNDING = "FUNDING"
        ADJUSTMENT = "ADJUSTMENT"

    id = MintedIdField(primary_key=True)
    debit_wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="debits", db_index=False)
    credit_wallet = models.ForeignKey(
        Wallet, models.PROTECT, related_name="credits", db_index=False
    )
    amount_micros = models.BigIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    reference = models.CharField(max_length=100)
    debit_balance_after_micros = models.BigIntegerField()
    credit_balance_after_micros = models.BigIntegerField()
    created_at = TimeUsField()

    class Meta:
        verbose_name_plural = "ledger entries"
        constraints = [
            # A bet is paid or refunded, never both; a hold is released or withdrawn, never both.
            models.UniqueConstraint(
                Case(
                    When(kind="REFUND", then=Value("PAYOUT")),
                    When(kind="RELEASE", then=Value("WITHDRAWAL")),
                    default=F("kind"),
                ),
                F("reference"),
                name="ledger_once",
            ),
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="ledger_amount_positive"),
            models.CheckConstraint(
                condition=~Q(debit_wallet=F("credit_wallet")), name="ledger_two_wallets"
            ),
        ]
        indexes = [
            models.Index(fields=["debit_wallet", "id"], name="ledger_debit"),
            models.Index(fields=["credit_wallet", "id"], name="ledger_credit"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"


class Seal(models.Model):
    """Written by the writer, append-only by trigger: the hash chain over batches of entries."""

    id = MintedIdField(primary_key=True)
    first_entry_id = models.BigIntegerField()
    last_entry_id = models.BigIntegerField(unique=True)
    entries = models.IntegerField()
    previous = models.BinaryField(max_length=32)
    seal = models.BinaryField(max_length=32)
    created_at = TimeUsField()

    def __str__(self) -> str:
        return f"seal {self.pk}"


class SessionKey(models.Model):
    """Written by the writer. A key that may sign bets for a wallet, within caps."""

    id = MintedIdField(primary_key=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="session_keys")
    address = models.CharField(max_length=42)
    label = models.CharField(max_length=64)
    max_stake_micros = models.BigIntegerField()
    max_total_micros = models.BigIntegerField()
    used_micros = models.BigIntegerField(default=0)
    archived_micros = models.BigIntegerField(default=0, db_default=0)  # of it, by archived bets
    nonce = models.UUIDField()
    timestamp = models.BigIntegerField()
    signature = models.BinaryField(max_length=65)
    expires_at = TimeUsField()
    revoked_at = TimeUsField(null=True)
    created_at = TimeUsField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "nonce"], name="session_key_nonce"),
            models.UniqueConstraint(fields=["wallet", "address"], name="session_key_address"),
            models.CheckConstraint(
                condition=Q(used_micros__lte=F("max_total_micros")), name="session_key_cap"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.address}"


class PlayerLimits(models.Model):
    """Written by the writer: what a player allows themselves, and what has been lost in the day and
    the week that are under way (wallet/guard.py). A wallet that never set anything has no row.

    `<limit>_next_micros` takes the place of `<limit>_micros` at `<limit>_next_at`.
    """

    wallet = models.OneToOneField(
        Wallet, models.PROTECT, primary_key=True, related_name="player_limits"
    )
    stake_micros = models.BigIntegerField(null=True)
    stake_next_micros = models.BigIntegerField(null=True)
    stake_next_at = TimeUsField(null=True)
    loss_day_micros = models.BigIntegerField(null=True)
    loss_day_next_micros = models.BigIntegerField(null=True)
    loss_day_next_at = TimeUsField(null=True)
    loss_week_micros = models.BigIntegerField(null=True)
    loss_week_next_micros = models.BigIntegerField(null=True)
    loss_week_next_at = TimeUsField(null=True)
    cool_off_until = TimeUsField(null=True)
    excluded_until = TimeUsField(null=True)
    day = models.IntegerField(default=0)
    lost_in_day_micros = models.BigIntegerField(default=0)
    week = models.IntegerField(default=0)
    lost_in_week_micros = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "player limits"

    def __str__(self) -> str:
        return f"limits of wallet {self.wallet_id}"


class Deposit(models.Model):
    """Written by the writer. Money on its way in; the custodian's event completes it."""

    class Status(models.TextChoices):
        PENDING = "pending"
        COMPLETED = "completed"
        FAILED = "failed"

    id = MintedIdField(primary_key=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="deposits", db_index=False)
    amount_micros = models.BigIntegerField()
    status = models.CharField(max_length=10, choices=Status)
    created_at = TimeUsField()
    completed_at = TimeUsField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["wallet", "id"], name="deposit_wallet"),
            models.Index(fields=["id"], condition=Q(status="pending"), name="deposit_pending"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="deposit_positive")
        ]

    def __str__(self) -> str:
        return f"deposit {self.pk}"


class Withdrawal(models.Model):
    """Written by the writer. Money on its way out; states only move forward."""

    class Status(models.TextChoices):
        HELD = "held"
        APPROVED = "approved"
        SENT = "sent"
        COMPLETED = "completed"
        REJECTED = "rejected"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = MintedIdField(primary_key=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="withdrawals", db_index=False)
    amount_micros = models.BigIntegerField()
    to_address = models.CharField(max_length=42)
    nonce = models.UUIDField()
    timestamp = models.BigIntegerField()
    signature = models.BinaryField(max_length=65)
    status = models.CharField(max_length=10, choices=Status)
    approve_after = TimeUsField()
    created_at = TimeUsField()
    changed_at = TimeUsField()

    class Meta:
        indexes = [
            models.Index(fields=["wallet", "id"], name="withdrawal_wallet"),
            models.Index(
                fields=["id"],
                condition=Q(status__in=["held", "approved", "sent"]),
                name="withdrawal_open",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["wallet", "nonce"], name="withdrawal_nonce"),
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="withdrawal_positive"),
        ]

    def __str__(self) -> str:
        return f"withdrawal {self.pk}"


class CustodyEvent(models.Model):
    """Written by the writer: what the custodian told us, once each."""

    id = MintedIdField(primary_key=True)
    event_id = models.CharField(max_length=100, unique=True)
    type = models.CharField(max_length=32)
    reference = models.CharField(max_length=100)
    address = models.CharField(max_length=42)
    amount_micros = models.BigIntegerField()
    outcome = models.CharField(max_length=32)
    created_at = TimeUsField()

    class Meta:
        constraints = [
            # The same transfer told again under another event id moves nothing.
            models.UniqueConstraint(
                fields=["type", "reference"],
                condition=Q(outcome="applied") & ~Q(reference=""),
                name="custody_reference_once",
            )
        ]

    def __str__(self) -> str:
        return self.event_id


class TraderSession(models.Model):
    """A sign-in: the SHA-256 of its token. Written by the web process."""

    token_sha256 = models.BinaryField(max_length=32, unique=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="sessions")
    created_at = TimeUsField()
    expires_at = TimeUsField(db_index=True)
    revoked_at = TimeUsField(null=True)

    def __str__(self) -> str:
        return f"session {self.pk}"


class LocalTransfer(models.Model):
    """The local custodian's own books (demo and development): what it holds is their sum."""

    key = models.CharField(max_length=100, unique=True)
    address = models.CharField(max_length=42)
    amount_micros = models.BigIntegerField()  # positive in, negative out
    created_at = TimeUsField()

    def __str__(self) -> str:
        return self.key


class Segment(models.Model):
    """A stretch of history, from one seal to another, on its way out of the database or gone from
    it. Written by the archive (ops/archive); docs/runbooks/archive.md tells its life.

    From `verified` on its rows may be removed: the triggers look at this table, and whoever reads
    history finds the rows in the segment's file.
    """

    class State(models.TextChoices):
        CUT = "cut"
        WRITTEN = "written"
        UPLOADED = "uploaded"
        VERIFIED = "verified"
        PRUNED = "pruned"

    name = models.CharField(max_length=16, unique=True)
    state = models.CharField(max_length=8, choices=State)
    first_seal_id = models.BigIntegerField()
    last_seal_id = models.BigIntegerField()
    first_entry_id = models.BigIntegerField()
    last_entry_id = models.BigIntegerField(unique=True)
    previous_seal = models.BinaryField(max_length=32)
    seal = models.BinaryField(max_length=32)
    cut_at = TimeUsField()  # the last seal's time
    # What its file holds: known once it is written.
    entries = models.BigIntegerField(default=0)
    seals = models.BigIntegerField(default=0)
    bets = models.BigIntegerField(default=0)
    settlements = models.BigIntegerField(default=0)
    first_bet_id = models.BigIntegerField(null=True)
    last_bet_id = models.BigIntegerField(null=True)
    amount_micros = models.BigIntegerField(default=0)
    stake_micros = models.BigIntegerField(default=0)
    payout_micros = models.BigIntegerField(default=0)
    rows_sha256 = models.CharField(max_length=64, default="")
    raw_sha256 = models.CharField(max_length=64, default="")
    raw_bytes = models.BigIntegerField(default=0)
    packed_sha256 = models.CharField(max_length=64, default="")
    packed_bytes = models.BigIntegerField(default=0)
    created_at = TimeUsField()
    verified_at = TimeUsField(null=True)
    pruned_at = TimeUsField(null=True)

    def __str__(self) -> str:
        return self.name


class Checkpoint(models.Model):
    """A wallet's balance at the last seal of a segment, and how much of the segment is its own.
    Written by the archive; only for wallets that the segment has rows of: the balance of another
    one at that seal is that of its checkpoint before."""

    segment = models.ForeignKey(Segment, models.PROTECT, related_name="checkpoints", db_index=False)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="+", db_index=False)
    balance_micros = models.BigIntegerField()
    entries = models.BigIntegerField()
    bets = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "segment"], name="checkpoint_once"),
        ]
        indexes = [models.Index(fields=["segment", "id"], name="checkpoint_segment")]

    def __str__(self) -> str:
        return f"{self.segment_id} {self.wallet_id}"


class ArchiveRun(models.Model):
    """A run of the archive that came to its end: what the dead man's switch looks at."""

    started_at = TimeUsField()
    finished_at = TimeUsField()
    segments = models.IntegerField()

    def __str__(self) -> str:
        return f"run {self.pk}"
