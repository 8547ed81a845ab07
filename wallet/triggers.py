"""The triggers that keep ledger entries and seals append-only, one text per dialect.

Django's table rebuild on SQLite (AlterField) drops triggers silently, so every later migration
of these tables ends with `reinstall`, and the integrity check looks for TRIGGERS by name.
"""

from typing import Final

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLES: Final = ("wallet_ledgerentry", "wallet_seal")
TRIGGERS: Final = tuple(f"{table}_no_{verb}" for table in TABLES for verb in ("update", "delete"))

_SQLITE: Final = """
CREATE TRIGGER {table}_no_{verb} BEFORE {VERB} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
_POSTGRESQL: Final = """
CREATE OR REPLACE FUNCTION {table}_no_{verb}() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$;
CREATE TRIGGER {table}_no_{verb} BEFORE {VERB} ON {table}
FOR EACH ROW EXECUTE FUNCTION {table}_no_{verb}()
"""


def reinstall(_apps: object, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop and create every trigger; for use in RunPython."""
    text = _SQLITE if editor.connection.vendor == "sqlite" else _POSTGRESQL
    remove(_apps, editor)
    for table in TABLES:
        for verb in ("update", "delete"):
            editor.execute(text.format(table=table, verb=verb, VERB=verb.upper()), params=None)


def remove(_apps: object, editor: BaseDatabaseSchemaEditor) -> None:
    on_table = "" if editor.connection.vendor == "sqlite" else " ON {table}"
    for table in TABLES:
        for verb in ("update", "delete"):
            name = f"{table}_no_{verb}"
            editor.execute(
                f"DROP TRIGGER IF EXISTS {name}" + on_table.format(table=table), params=None
            )
