"""Rows of one table as they are stored, newest first: what lists read instead of models.

Making a model of a row, and SQL of a QuerySet, costs many times what reading it does. Times stay
microseconds, ids of requests 32 digits; each row knows its own JSON.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Model

from taptrading import clock

Condition = tuple[str, Any]  # `column = %s`, and its value


class Question(NamedTuple):
    """A statement with `%s` for its values; it may be put to more than one database."""

    statement: str
    values: list[Any]


# A NamedTuple whose fields are columns, among them `id`.
R = TypeVar("R", bound=tuple[Any, ...])


def fetch(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


class Rows(Generic[R]):
    """Those rows of a table that meet all conditions. Immutable, read anew each time."""

    def __init__(self, table: str, row: type[R], *conditions: Condition) -> None:
        self._table = table
        self.row = row
        self._conditions = conditions

    def where(self, *conditions: Condition) -> "Rows[R]":
        return Rows(self._table, self.row, *self._conditions, *conditions)

    def newest(self, limit: int, before: int | None = None) -> list[R]:
        """At most `limit` of them, by descending id, with ids below `before`."""
        found = fetch(*self.question(limit, before))
        return [self.row(*values) for values in found]

    def question(self, limit: int, before: int | None = None) -> Question:
        """What `newest` asks."""
        conditions = [*self._conditions]
        if before is not None:
            conditions.append(("id < %s", before))
        statement = (
            f"SELECT {', '.join(_columns(self.row))} FROM {self._table}"  # noqa: S608
            f" WHERE {' AND '.join(text for text, _ in conditions)} ORDER BY id DESC LIMIT %s"
        )
        return Question(statement, [*(value for _, value in conditions), limit])

    def one(self) -> R | None:
        """The newest of them."""
        return next(iter(self.newest(1)), None)


def row_of(row: type[R], model: Model) -> R:
    """A model as the row that it is stored as."""
    return row(*(_stored(getattr(model, name)) for name in _columns(row)))


def _columns(row: type[R]) -> tuple[str, ...]:
    fields: tuple[str, ...] = row._fields  # type: ignore[attr-defined]
    return fields


def _stored(value: Any) -> Any:
    match value:
        case datetime():
            return clock.to_us(value)
        case UUID():
            return value.hex
        case _:
            return value


def hyphenated(digits: str) -> str:
    """32 hex digits -> the UUID's canonical text."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
