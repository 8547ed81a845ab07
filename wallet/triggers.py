"""The triggers that keep ledger entries and seals append-only, one text per dialect.

No row is changed, ever. A row goes only once a segment that was read back and compared covers it:
of the ledger an entry of a bet, for entries of transfers are what keeps those from being repeated,
and of the seals all but the segment's last, from which the chain goes on.
Django's table rebuild on SQLite (AlterField) drops triggers silently, so every later migration
of these tables ends with `reinstall`, and the integrity check looks for TRIGGERS by name.
"""

from collections.abc import Mapping
from typing import Final

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLES: Final = ("wallet_ledgerentry", "wallet_seal")
TRIGGERS: Final = tuple(f"{table}_no_{verb}" for table in TABLES for verb in ("update", "delete"))

# Rows that may go: ranges of segments do not overlap, so the first that reaches a row decides.
_COVERED: Final = {
    "wallet_ledgerentry": (
        "OLD.kind IN ('STAKE', 'PAYOUT', 'REFUND') AND EXISTS (SELECT 1 FROM wallet_segment"
        " WHERE state IN ('verified', 'pruned') AND first_entry_id <= OLD.id"
        " AND last_entry_id >= OLD.id)"
    ),
    "wallet_seal": (
        "EXISTS (SELECT 1 FROM wallet_segment WHERE state IN ('verified', 'pruned')"
        " AND first_seal_id <= OLD.id + 1 AND last_seal_id > OLD.id)"
    ),
}
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


def reinstall(_apps: object, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop and create every trigger; for use in RunPython."""
    install(editor, _COVERED)


def install(editor: BaseDatabaseSchemaEditor, covered: Mapping[str, str]) -> None:
    """`covered`: by table, the condition under which a row may be deleted; none: never."""
    text = _SQLITE if editor.connection.vendor == "sqlite" else _POSTGRESQL
    remove(None, editor)
    for table in TABLES:
        for verb in ("update", "delete"):
            may_go = covered.get(table) if verb == "delete" else None
            forbidden = f"NOT ({may_go})" if may_go else "1 = 1"
            names = {"table": table, "verb": verb, "VERB": verb.upper(), "forbidden": forbidden}
            editor.execute(text.format(**names), params=None)


def remove(_apps: object, editor: BaseDatabaseSchemaEditor) -> None:
    on_table = "" if editor.connection.vendor == "sqlite" else " ON {table}"
    for table in TABLES:
        for verb in ("update", "delete"):
            name = f"{table}_no_{verb}"
            editor.execute(
                f"DROP TRIGGER IF EXISTS {name}" + on_table.format(table=table), params=None
            )
