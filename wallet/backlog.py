"""Rows that wait for a step in the background: all of them, oldest first, in pages.

A page is read only after the one before it was worked on, and by id: rows that stay where they
are do not keep those behind them waiting.
"""

from collections.abc import Iterator
from typing import Final, TypeVar

from django.db.models import Model, QuerySet

PAGE: Final = 200
PAGES_MAX: Final = 50  # in one run; what lies beyond has to wait for those before it

Row = TypeVar("Row", bound=Model)


def oldest_first(waiting: QuerySet[Row]) -> Iterator[Row]:
    last_id = 0
    for _ in range(PAGES_MAX):
        page = list(waiting.filter(pk__gt=last_id).order_by("pk")[:PAGE])
        yield from page
        if len(page) < PAGE:
            return
        last_id = page[-1].pk
