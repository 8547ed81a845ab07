"""What segments are called: the ISO week of their last seal, and which of it. Pure."""

import itertools
from collections.abc import Container
from datetime import datetime


def week_of(at: datetime) -> str:
    """`2026-W53`: the year is the week's, which in the days around New Year is not the date's."""
    return f"{at:%G-W%V}"


def free_name(at: datetime, taken: Container[str]) -> str:
    """The week's name, and with `-2`, `-3` and so on for its later segments."""
    week = week_of(at)
    names = itertools.chain([week], (f"{week}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)
