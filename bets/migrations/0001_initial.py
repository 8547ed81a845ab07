
import django.db.models.deletion
import taptrading.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('wallet', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Settlement',
            fields=[
                ('column_start', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('state', models.CharField(choices=[('settled', 'settled'), ('void', 'void')], max_length=7)),
                ('reason', models.CharField(default='', max_length=32)),
                ('open_cents', models.BigIntegerField(null=True)),
                ('low_cents', models.BigIntegerField(null=True)),
                ('high_cents', models.BigIntegerField(null=True)),
                ('close_cents', models.BigIntegerField(null=True)),
                ('ticks', models.IntegerField()),
                ('max_gap_ms', models.BigIntegerField(null=True)),
                ('sources', models.CharField(default='', max_length=200)),
                ('ticks_sha256', models.CharField(max_length=64)),
                ('evidence', models.BinaryField()),
                ('decided_at', taptrading.fields.TimeUsField()),
            ],
        ),
        migrations.CreateModel(
            name='Bet',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('column_start', models.BigIntegerField()),
                ('low_cents', models.BigIntegerField()),
                ('high_cents', models.BigIntegerField()),
                ('stake_micros', models.BigIntegerField()),
                ('min_rate_bps', models.BigIntegerField()),
                ('nonce', models.UUIDField()),
                ('timestamp', models.BigIntegerField()),
                ('signature', models.BinaryField(max_length=65)),
                ('status', models.CharField(choices=[('accepted', 'Accepted'), ('confirmed', 'Confirmed'), ('rejected', 'Rejected'), ('won', 'Won'), ('lost', 'Lost'), ('void', 'Void')], max_length=9)),
                ('reason', models.CharField(default='', max_length=32)),
                ('rate_bps', models.BigIntegerField(null=True)),
                ('pricing_tick', models.BigIntegerField(null=True)),
                ('payout_micros', models.BigIntegerField(null=True)),
                ('cursor', models.BigIntegerField()),
                ('accepted_at', taptrading.fields.TimeUsField()),
                ('confirmed_at', taptrading.fields.TimeUsField(null=True)),
                ('resolved_at', taptrading.fields.TimeUsField(null=True)),
                ('house', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='wallet.wallet')),
                ('session_key', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, to='wallet.sessionkey')),
                ('wallet', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='bets', to='wallet.wallet')),
            ],
            options={
                'indexes': [models.Index(fields=['wallet', 'id'], name='bet_wallet'), models.Index(condition=models.Q(('status', 'accepted')), fields=['id'], name='bet_unpriced'), models.Index(condition=models.Q(('status', 'confirmed')), fields=['column_start', 'id'], name='bet_unresolved')],
                'constraints': [models.UniqueConstraint(fields=('wallet', 'nonce'), name='bet_nonce'), models.UniqueConstraint(condition=models.Q(('status', 'rejected'), _negated=True), fields=('wallet', 'column_start', 'low_cents'), name='bet_one_per_cell'), models.CheckConstraint(condition=models.Q(('stake_micros__gt', 0)), name='bet_stake_positive')],
            },
        ),
        migrations.CreateModel(
            name='CellExposure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('column_start', models.BigIntegerField()),
                ('low_cents', models.BigIntegerField()),
                ('liability_micros', models.BigIntegerField()),
                ('house', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='wallet.wallet')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('house', 'column_start', 'low_cents'), name='exposure_cell'), models.CheckConstraint(condition=models.Q(('liability_micros__gte', 0)), name='exposure_not_negative')],
            },
        ),
    ]
