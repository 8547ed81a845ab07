"""Segments' names: ISO weeks, in the days around New Year above all."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ops.archive.names import free_name, week_of

DAYS_AROUND_NEW_YEAR = [
    (date(2026, 12, 27), "2026-W52"),
    *((date(2026, 12, 28) + timedelta(days=day), "2026-W53") for day in range(7)),
    (date(2027, 1, 4), "2027-W01"),
    (date(2024, 12, 30), "2025-W01"),
    (date(2024, 12, 31), "2025-W01"),
    (date(2023, 1, 1), "2022-W52"),
    (date(2021, 1, 3), "2020-W53"),
]


@pytest.mark.parametrize(("day", "expected"), DAYS_AROUND_NEW_YEAR)
def test_week_when_the_year_turns_then_the_weeks_own_year(day: date, expected: str) -> None:
    assert week_of(datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)) == expected


def test_weeks_of_thirty_years_are_as_many_as_their_mondays() -> None:
    first = datetime(2020, 1, 6, tzinfo=UTC)
    days = [first + timedelta(days=day) for day in range(7 * 1_565)]
    names = list(dict.fromkeys(week_of(day) for day in days))
    assert len(names) == 1_565
    assert names == sorted(names)


def test_name_when_the_week_has_segments_then_the_next_number() -> None:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    assert free_name(at, set()) == "2026-W53"
    assert free_name(at, {"2026-W53"}) == "2026-W53-2"
    assert free_name(at, {"2026-W53", "2026-W53-2", "2026-W53-3"}) == "2026-W53-4"
