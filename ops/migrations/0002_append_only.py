from django.db import migrations

from taptrading import append_only

TABLE = "ops_auditentry"


def install(_apps, editor):
    append_only.install(editor, TABLE, kept_until="keep_until")


def remove(_apps, editor):
    append_only.remove(editor, TABLE)


class Migration(migrations.Migration):
    dependencies = [("ops", "0001_initial")]
    operations = [migrations.RunPython(install, remove)]
