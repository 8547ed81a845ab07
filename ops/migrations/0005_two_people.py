from datetime import UTC, datetime

from django.db import migrations, models
from django.db.models import F, Q

import taptrading.fields

NOT_DECIDED = Q(state__in=["open", "rejected", "expired"])


class Migration(migrations.Migration):
    dependencies = [("ops", "0004_reconciliation")]

    operations = [
        migrations.RemoveConstraint(model_name="proposal", name="proposal_two_people"),
        migrations.RemoveConstraint(model_name="proposal", name="proposal_amount"),
        migrations.AddField(
            model_name="proposal",
            name="expires_at",
            field=taptrading.fields.TimeUsField(default=datetime(1970, 1, 1, tzinfo=UTC)),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="proposal",
            name="entry_id",
            field=models.BigIntegerField(null=True, unique=True),
        ),
        migrations.AlterField(
            model_name="proposal",
            name="state",
            field=models.CharField(
                choices=[
                    ("open", "Open"),
                    ("rejected", "Rejected"),
                    ("approved", "Approved"),
                    ("done", "Done"),
                    ("refused", "Refused"),
                    ("expired", "Expired"),
                ],
                default="open",
                max_length=8,
            ),
        ),
        migrations.AddConstraint(
            model_name="proposal",
            constraint=models.CheckConstraint(
                condition=NOT_DECIDED
                | (Q(decided_by__isnull=False) & ~Q(decided_by=F("proposed_by"))),
                name="proposal_two_people",
            ),
        ),
        migrations.AddConstraint(
            model_name="proposal",
            constraint=models.CheckConstraint(
                condition=NOT_DECIDED | Q(decided_at__lt=F("expires_at")),
                name="proposal_in_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="proposal",
            constraint=models.CheckConstraint(
                condition=(Q(kind="adjustment", wallet__isnull=False) & ~Q(amount_micros=0))
                | Q(kind__in=["funding", "profit", "withdrawal"], amount_micros__gt=0)
                | Q(kind="unfreeze", amount_micros__isnull=True),
                name="proposal_amount",
            ),
        ),
    ]
