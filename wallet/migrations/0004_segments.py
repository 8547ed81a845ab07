import django.db.models.deletion
from django.db import migrations, models

import taptrading.fields
from wallet.triggers import reinstall, remove


class Migration(migrations.Migration):
    dependencies = [
        ("wallet", "0003_own_wallets"),
    ]

    operations = [
        migrations.CreateModel(
            name="ArchiveRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("started_at", taptrading.fields.TimeUsField()),
                ("finished_at", taptrading.fields.TimeUsField()),
                ("segments", models.IntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Segment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=16, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("cut", "Cut"),
                            ("written", "Written"),
                            ("uploaded", "Uploaded"),
                            ("verified", "Verified"),
                            ("pruned", "Pruned"),
                        ],
                        max_length=8,
                    ),
                ),
                ("first_seal_id", models.BigIntegerField()),
                ("last_seal_id", models.BigIntegerField()),
                ("first_entry_id", models.BigIntegerField()),
                ("last_entry_id", models.BigIntegerField(unique=True)),
                ("previous_seal", models.BinaryField(max_length=32)),
                ("seal", models.BinaryField(max_length=32)),
                ("cut_at", taptrading.fields.TimeUsField()),
                ("entries", models.BigIntegerField(default=0)),
                ("seals", models.BigIntegerField(default=0)),
                ("bets", models.BigIntegerField(default=0)),
                ("settlements", models.BigIntegerField(default=0)),
                ("first_bet_id", models.BigIntegerField(null=True)),
                ("last_bet_id", models.BigIntegerField(null=True)),
                ("amount_micros", models.BigIntegerField(default=0)),
                ("stake_micros", models.BigIntegerField(default=0)),
                ("payout_micros", models.BigIntegerField(default=0)),
                ("rows_sha256", models.CharField(default="", max_length=64)),
                ("raw_sha256", models.CharField(default="", max_length=64)),
                ("raw_bytes", models.BigIntegerField(default=0)),
                ("packed_sha256", models.CharField(default="", max_length=64)),
                ("packed_bytes", models.BigIntegerField(default=0)),
                ("created_at", taptrading.fields.TimeUsField()),
                ("verified_at", taptrading.fields.TimeUsField(null=True)),
                ("pruned_at", taptrading.fields.TimeUsField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name="sessionkey",
            name="archived_micros",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("balance_micros", models.BigIntegerField()),
                ("entries", models.BigIntegerField()),
                ("bets", models.BigIntegerField()),
                (
                    "wallet",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="wallet.wallet",
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="checkpoints",
                        to="wallet.segment",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["segment", "id"], name="checkpoint_segment")],
                "constraints": [
                    models.UniqueConstraint(fields=("wallet", "segment"), name="checkpoint_once")
                ],
            },
        ),
        migrations.RunPython(reinstall, remove),
    ]
