from django.db import migrations

from ops.staff import roles


class Migration(migrations.Migration):
    dependencies = [
        ("ops", "0002_append_only"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(roles.install, migrations.RunPython.noop)]
