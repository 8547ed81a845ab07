"""Model fields of the house: integers in the database, whole types in Python."""

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models.expressions import Combinable

from taptrading import clock


class MintedIdField(models.BigIntegerField):  # type: ignore[type-arg]
    """A primary key minted by the writer; on SQLite the rowid itself, so it costs no index."""

    def db_type(self, connection: Any) -> str:
        return "integer" if connection.vendor == "sqlite" else "bigint"

    def rel_db_type(self, connection: Any) -> str:
        return "integer" if connection.vendor == "sqlite" else "bigint"


class TimeUsField(models.BigIntegerField):  # type: ignore[type-arg]
    """An instant: microseconds since the epoch in the database, aware UTC datetime in Python."""

    # What the type checker's Django plugin takes the attribute to be.
    _pyi_private_set_type: datetime | Combinable  # type: ignore[assignment]
    _pyi_private_get_type: datetime  # type: ignore[assignment]
    _pyi_lookup_exact_type: datetime | int  # type: ignore[assignment]

    def from_db_value(self, value: int | None, *_: Any) -> datetime | None:
        return None if value is None else clock.from_us(value)

    def to_python(self, value: Any) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        return clock.from_us(int(value))

    def get_prep_value(self, value: Any) -> int | None:
        if isinstance(value, datetime):
            return clock.to_us(value)
        return None if value is None else int(value)
