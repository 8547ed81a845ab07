"""Triggers that let rows of a table come and never change, one text per dialect.

For use in migrations. Django's table rebuild on SQLite (AlterField) drops triggers silently, so a
later migration of such a table ends with `install`.
"""

from typing import Final

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_SQLITE: Final = """
CREATE TRIGGER {table}_no_{verb} BEFORE {VERB} ON {table} WHEN {forbidden}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
_POSTGRESQL: Final = """
CREATE OR REPLACE FUNCTION {table}_no_{verb}() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF {forbidden} THEN RAISE EXCEPTION '{table} is append-only'; END IF; RETURN OLD; END $$;
CREATE TRIGGER {table}_no_{verb} BEFORE {VERB} ON {table}
FOR EACH ROW EXECUTE FUNCTION {table}_no_{verb}()
"""
_NOW_US: Final = {
    "sqlite": "CAST(strftime('%s', 'now') AS INTEGER) * 1000000",
    "postgresql": "(extract(epoch FROM now()) * 1000000)::bigint",
}


def names(table: str) -> tuple[str, str]:
    """Of the table's triggers."""
    return f"{table}_no_update", f"{table}_no_delete"


def install(editor: BaseDatabaseSchemaEditor, table: str, *, kept_until: str = "") -> None:
    """Refuse UPDATE, and DELETE unless the instant in the column `kept_until` (us) is past."""
    remove(editor, table)
    for statement in creating(editor.connection.vendor, table, kept_until):
        editor.execute(statement, params=None)


def remove(editor: BaseDatabaseSchemaEditor, table: str) -> None:
    for statement in dropping(editor.connection.vendor, table):
        editor.execute(statement, params=None)


def creating(vendor: str, table: str, kept_until: str = "") -> list[str]:
    text = _SQLITE if vendor == "sqlite" else _POSTGRESQL
    kept = f"OLD.{kept_until} > {_NOW_US[vendor]}" if kept_until else "1 = 1"
    return [
        text.format(table=table, verb=verb, VERB=verb.upper(), forbidden=forbidden)
        for verb, forbidden in (("update", "1 = 1"), ("delete", kept))
    ]


def dropping(vendor: str, table: str) -> list[str]:
    on_table = "" if vendor == "sqlite" else f" ON {table}"
    return [f"DROP TRIGGER IF EXISTS {name}{on_table}" for name in names(table)]
