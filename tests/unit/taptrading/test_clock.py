"""Times as the wire has them."""

import pytest

from taptrading import clock


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_764_000_001_999_999, "2025-11-24T16:00:01.999Z"),  # cut, not rounded
        (1_764_000_001_034_000, "2025-11-24T16:00:01.034Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_iso_ms_then_milliseconds_are_cut_and_years_have_four_digits(us: int, text: str) -> None:
    assert clock.iso_ms(us) == text
