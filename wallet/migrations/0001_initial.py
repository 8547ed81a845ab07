
import django.db.models.deletion
import taptrading.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='CustodyEvent',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('event_id', models.CharField(max_length=100, unique=True)),
                ('type', models.CharField(max_length=32)),
                ('reference', models.CharField(max_length=100)),
                ('address', models.CharField(max_length=42)),
                ('amount_micros', models.BigIntegerField()),
                ('outcome', models.CharField(max_length=32)),
                ('created_at', taptrading.fields.TimeUsField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('outcome', 'applied'), models.Q(('reference', ''), _negated=True)), fields=('type', 'reference'), name='custody_reference_once')],
            },
        ),
        migrations.CreateModel(
            name='LocalTransfer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=100, unique=True)),
                ('address', models.CharField(max_length=42)),
                ('amount_micros', models.BigIntegerField()),
                ('created_at', taptrading.fields.TimeUsField()),
            ],
        ),
        migrations.CreateModel(
            name='Seal',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('first_entry_id', models.BigIntegerField()),
                ('last_entry_id', models.BigIntegerField(unique=True)),
                ('entries', models.IntegerField()),
                ('previous', models.BinaryField(max_length=32)),
                ('seal', models.BinaryField(max_length=32)),
                ('created_at', taptrading.fields.TimeUsField()),
            ],
        ),
        migrations.CreateModel(
            name='Wallet',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('player', 'Player'), ('house', 'House'), ('custody', 'Custody'), ('hold', 'Hold')], max_length=8)),
                ('address', models.CharField(max_length=42, null=True, unique=True)),
                ('balance_micros', models.BigIntegerField(default=0)),
                ('held_micros', models.BigIntegerField(default=0)),
                ('open_stake_micros', models.BigIntegerField(default=0)),
                ('cursor', models.BigIntegerField(default=0)),
                ('frozen', models.BooleanField(default=False)),
                ('created_at', taptrading.fields.TimeUsField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('kind', 'custody'), ('balance_micros__gte', 0), _connector='OR'), name='wallet_balance_not_negative'), models.CheckConstraint(condition=models.Q(('held_micros__gte', 0), ('open_stake_micros__gte', 0)), name='wallet_parts_not_negative'), models.CheckConstraint(condition=models.Q(models.Q(('address__isnull', False), ('kind', 'player')), models.Q(models.Q(('kind', 'player'), _negated=True), ('address__isnull', True)), _connector='OR'), name='wallet_players_have_addresses')],
            },
        ),
        migrations.CreateModel(
            name='TraderSession',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('token_sha256', models.BinaryField(max_length=32, unique=True)),
                ('created_at', taptrading.fields.TimeUsField()),
                ('expires_at', taptrading.fields.TimeUsField(db_index=True)),
                ('revoked_at', taptrading.fields.TimeUsField(null=True)),
                ('wallet', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='sessions', to='wallet.wallet')),
            ],
        ),
        migrations.CreateModel(
            name='SessionKey',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('address', models.CharField(max_length=42)),
                ('label', models.CharField(max_length=64)),
                ('max_stake_micros', models.BigIntegerField()),
                ('max_total_micros', models.BigIntegerField()),
                ('used_micros', models.BigIntegerField(default=0)),
                ('nonce', models.UUIDField()),
                ('timestamp', models.BigIntegerField()),
                ('signature', models.BinaryField(max_length=65)),
                ('expires_at', taptrading.fields.TimeUsField()),
                ('revoked_at', taptrading.fields.TimeUsField(null=True)),
                ('created_at', taptrading.fields.TimeUsField()),
                ('wallet', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='session_keys', to='wallet.wallet')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('wallet', 'nonce'), name='session_key_nonce'), models.UniqueConstraint(fields=('wallet', 'address'), name='session_key_address'), models.CheckConstraint(condition=models.Q(('used_micros__lte', models.F('max_total_micros'))), name='session_key_cap')],
            },
        ),
        migrations.CreateModel(
            name='LedgerEntry',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('amount_micros', models.BigIntegerField()),
                ('kind', models.CharField(choices=[('DEPOSIT', 'Deposit'), ('STAKE', 'Stake'), ('PAYOUT', 'Payout'), ('REFUND', 'Refund'), ('HOLD', 'Hold'), ('RELEASE', 'Release'), ('WITHDRAWAL', 'Withdrawal'), ('FUNDING', 'Funding'), ('ADJUSTMENT', 'Adjustment')], max_length=10)),
                ('reference', models.CharField(max_length=100)),
                ('debit_balance_after_micros', models.BigIntegerField()),
                ('credit_balance_after_micros', models.BigIntegerField()),
                ('created_at', taptrading.fields.TimeUsField()),
                ('credit_wallet', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='credits', to='wallet.wallet')),
                ('debit_wallet', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='debits', to='wallet.wallet')),
            ],
            options={
                'verbose_name_plural': 'ledger entries',
                'indexes': [models.Index(fields=['debit_wallet', 'id'], name='ledger_debit'), models.Index(fields=['credit_wallet', 'id'], name='ledger_credit')],
                'constraints': [models.UniqueConstraint(models.Case(models.When(kind='REFUND', then=models.Value('PAYOUT')), models.When(kind='RELEASE', then=models.Value('WITHDRAWAL')), default=models.F('kind')), models.F('reference'), name='ledger_once'), models.CheckConstraint(condition=models.Q(('amount_micros__gt', 0)), name='ledger_amount_positive'), models.CheckConstraint(condition=models.Q(('debit_wallet', models.F('credit_wallet')), _negated=True), name='ledger_two_wallets')],
            },
        ),
        migrations.CreateModel(
            name='Deposit',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('amount_micros', models.BigIntegerField()),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('completed', 'Completed'), ('failed', 'Failed')], max_length=10)),
                ('created_at', taptrading.fields.TimeUsField()),
                ('completed_at', taptrading.fields.TimeUsField(null=True)),
                ('wallet', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='deposits', to='wallet.wallet')),
            ],
            options={
                'indexes': [models.Index(fields=['wallet', 'id'], name='deposit_wallet'), models.Index(condition=models.Q(('status', 'pending')), fields=['id'], name='deposit_pending')],
                'constraints': [models.CheckConstraint(condition=models.Q(('amount_micros__gt', 0)), name='deposit_positive')],
            },
        ),
        migrations.CreateModel(
            name='Withdrawal',
            fields=[
                ('id', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('amount_micros', models.BigIntegerField()),
                ('to_address', models.CharField(max_length=42)),
                ('nonce', models.UUIDField()),
                ('timestamp', models.BigIntegerField()),
                ('signature', models.BinaryField(max_length=65)),
                ('status', models.CharField(choices=[('held', 'Held'), ('approved', 'Approved'), ('sent', 'Sent'), ('completed', 'Completed'), ('rejected', 'Rejected'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], max_length=10)),
                ('approve_after', taptrading.fields.TimeUsField()),
                ('created_at', taptrading.fields.TimeUsField()),
                ('changed_at', taptrading.fields.TimeUsField()),
                ('wallet', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='withdrawals', to='wallet.wallet')),
            ],
            options={
                'indexes': [models.Index(fields=['wallet', 'id'], name='withdrawal_wallet'), models.Index(condition=models.Q(('status__in', ['held', 'approved', 'sent'])), fields=['id'], name='withdrawal_open')],
                'constraints': [models.UniqueConstraint(fields=('wallet', 'nonce'), name='withdrawal_nonce'), models.CheckConstraint(condition=models.Q(('amount_micros__gt', 0)), name='withdrawal_positive')],
            },
        ),
    ]
