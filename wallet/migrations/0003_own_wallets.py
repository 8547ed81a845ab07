from django.db import migrations

from taptrading import clock
from wallet.ids import CUSTODY, HOLD, HOUSE


def open_own_wallets(apps, _editor):
    wallet = apps.get_model("wallet", "Wallet")
    for pk, kind in ((CUSTODY, "custody"), (HOLD, "hold"), (HOUSE, "house")):
        wallet.objects.create(id=pk, kind=kind, created_at=clock.now())


class Migration(migrations.Migration):
    dependencies = [("wallet", "0002_append_only")]
    operations = [migrations.RunPython(open_own_wallets, migrations.RunPython.noop)]
