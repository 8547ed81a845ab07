from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("bets", "0001_initial"),
        ("wallet", "0003_own_wallets"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="bet",
            name="bet_one_per_cell",
        ),
        migrations.RemoveIndex(
            model_name="bet",
            name="bet_unpriced",
        ),
        migrations.RemoveIndex(
            model_name="bet",
            name="bet_unresolved",
        ),
        migrations.AddField(
            model_name="bet",
            name="taken_low_cents",
            field=models.BigIntegerField(null=True),
        ),
        migrations.RunSQL(
            "UPDATE bets_bet SET taken_low_cents = low_cents WHERE status <> 'rejected'",
            migrations.RunSQL.noop,
        ),
        migrations.AddIndex(
            model_name="bet",
            index=models.Index(
                condition=models.Q(
                    ("resolved_at__isnull", True), ("taken_low_cents__isnull", False)
                ),
                fields=["column_start", "id"],
                name="bet_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="bet",
            constraint=models.UniqueConstraint(
                condition=models.Q(("taken_low_cents__isnull", False)),
                fields=("column_start", "taken_low_cents", "wallet"),
                name="bet_one_per_cell",
            ),
        ),
    ]
