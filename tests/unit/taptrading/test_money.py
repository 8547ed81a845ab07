"""Worked examples of the only rounding in the house, and of amounts as text."""

import pytest

from taptrading.money import MAX_INT, format_usdc, parse_usdc, payout_micros

USDC = 1_000_000


@pytest.mark.parametrize(
    ("stake_micros", "rate_bps", "payout"),
    [
        (5 * USDC, 10_000, 5 * USDC),  # the stake back
        (5 * USDC, 20_000, 10 * USDC),
        (100 * USDC, 10_101, 101_010_000),
        (1, 19_999, 1),  # down to the micro, never up
        (9_999, 10_001, 9_999),
        (10_000, 10_001, 10_001),
        (3, 33_333, 9),
        (0, 20_000, 0),
    ],
)
def test_payout_when_it_does_not_come_out_even_then_rounded_down(
    stake_micros: int, rate_bps: int, payout: int
) -> None:
    assert payout_micros(stake_micros, rate_bps) == payout


def test_payout_when_beyond_what_a_float_can_hold_then_exact() -> None:
    assert payout_micros(MAX_INT, 10_000) == MAX_INT
    assert payout_micros(9_007_199_254_740_993, 10_001) == 9_008_099_974_666_467


AMOUNTS = [
    (0, "0.00"),
    (1, "0.000001"),
    (10, "0.00001"),
    (100_000, "0.10"),
    (120_000, "0.12"),
    (123_000, "0.123"),
    (123_456, "0.123456"),
    (1_000_001, "1.000001"),
    (1_500_000, "1.50"),
    (-1, "-0.000001"),
    (-1_500_000, "-1.50"),
    (10 * USDC, "10.00"),
    (9_999_999_999_999_999_999, "9999999999999.999999"),
]


@pytest.mark.parametrize(("micros", "text"), AMOUNTS)
def test_amount_when_written_then_at_least_two_decimals_and_never_more_than_needed(
    micros: int, text: str
) -> None:
    assert format_usdc(micros) == text


@pytest.mark.parametrize(
    ("text", "micros"),
    [*((text, micros) for micros, text in AMOUNTS), ("1", USDC), ("1.5", 1_500_000), ("-0", 0)],
)
def test_amount_when_read_then_the_micros_that_it_says(text: str, micros: int) -> None:
    assert parse_usdc(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".5",
        "1.",
        "1.0000001",
        "1e6",
        "+1",
        " 1",
        "1 ",
        "1,5",
        "--1",
        "12345678901234",
        "١",
    ],
)
def test_amount_when_it_is_no_plain_decimal_then_refused_by_its_own_text(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount") as refused:
        parse_usdc(text)
    assert str(refused.value) == f"not an amount of USDC: {text!r}"
