from django.db import migrations

from wallet.triggers import reinstall, remove


class Migration(migrations.Migration):
    dependencies = [("wallet", "0001_initial")]
    operations = [migrations.RunPython(reinstall, remove)]
