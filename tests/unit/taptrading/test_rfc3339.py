"""Times that clients write."""

import pytest

from taptrading import clock, rfc3339


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ("2025-11-24T16:00:00.123456Z", "2025-11-24T16:00:00.123Z"),
        ("2025-11-24T18:00:00+02:00", "2025-11-24T16:00:00.000Z"),
        ("2025-11-24T10:30:00.5-05:30", "2025-11-24T16:00:00.500Z"),
        ("2025-11-24T16:00:00.999999999Z", "2025-11-24T16:00:00.999Z"),
    ],
)
def test_parse_when_well_formed_then_the_instant(text: str, at: str) -> None:
    parsed = rfc3339.parse_us(text)
    assert parsed is not None
    assert clock.iso_ms(parsed) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1764000000",
        "2025-11-24",
        "2025-11-24T16:00:00",
        "2025-11-24 16:00:00Z",
        "2025-02-30T00:00:00Z",
        "2025-11-24T24:00:01Z",
        "2025-11-24T16:00:60Z",
        "2025-11-24T16:00:00+25:00",
        "2025-11-24T16:00:00Z\n",
        "٢٠٢٥-11-24T16:00:00Z",
        "0000-01-01T00:00:00Z",
        "20251124T160000Z",
    ],
)
def test_parse_when_malformed_then_none(text: str) -> None:
    assert rfc3339.parse_us(text) is None
