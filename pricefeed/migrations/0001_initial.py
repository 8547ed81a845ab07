
import taptrading.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Tick',
            fields=[
                ('seq', taptrading.fields.MintedIdField(primary_key=True, serialize=False)),
                ('at', taptrading.fields.TimeUsField(unique=True)),
                ('price_cents', models.BigIntegerField()),
                ('sigma_ppm', models.BigIntegerField()),
                ('overshoot_e12', models.BigIntegerField()),
                ('sources', models.CharField(max_length=100)),
                ('recorded_at', taptrading.fields.TimeUsField()),
            ],
        ),
        migrations.CreateModel(
            name='BreakerOverride',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('auto', 'auto'), ('open', 'open'), ('close', 'close')], max_length=5)),
                ('reason', models.CharField(max_length=200)),
                ('by', models.CharField(max_length=150)),
                ('created_at', taptrading.fields.TimeUsField()),
                ('until', taptrading.fields.TimeUsField(null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['-created_at'], name='override_newest')],
            },
        ),
    ]
