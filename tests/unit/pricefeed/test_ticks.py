"""What every venue's messages go through: exact prices, strict forms, the guard."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from pricefeed import ticks
from pricefeed.ticks import BadMessage, Event, Gate, Reading

NANOS = 1_000_000_000


@pytest.mark.parametrize(
    ("value", "nanos"),
    [
        ("61837.63000000", 61_837_630_000_000),
        (Decimal("105944.20"), 105_944_200_000_000),
        (95_000, 95_000 * NANOS),
        ("0.00000001e12", 10_000 * NANOS),
    ],
)
def test_read_price_when_of_any_form_then_exact(value: object, nanos: int) -> None:
    assert ticks.price_nanos(value) == nanos


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0", "price_not_positive"),
        (0, "price_not_positive"),
        ("-5", "price_not_positive"),
        ("0.5", "price_absurd"),
        ("100000001", "price_absurd"),
        ("1e999999999", "bad_price"),
        ("NaN", "bad_price"),
        ("Infinity", "bad_price"),
        ("abc", "bad_price"),
        ("", "bad_price"),
        (None, "bad_price"),
        (True, "bad_price"),
        (95_000.5, "bad_price"),  # a float has lost digits already
        ("95000.0000000001", "bad_price"),
    ],
)
def test_read_price_when_unusable_then_refused(value: object, reason: str) -> None:
    with pytest.raises(BadMessage, match=f"^{reason}$"):
        ticks.price_nanos(value)


def test_take_middle_when_sum_is_odd_then_exact() -> None:
    assert ticks.middle_nanos("99.99999999", "100") == 99_999_999_995


def test_take_middle_when_crossed_then_refused() -> None:
    with pytest.raises(BadMessage, match="crossed_book"):
        ticks.middle_nanos("100.01", "100.00")


def test_decode_frame_when_number_has_a_point_then_decimal() -> None:
    assert ticks.decode('{"p": 0.1}', limit_bytes=100) == {"p": Decimal("0.1")}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xff\xfe", "not_json"),
        ("{", "not_json"),
        ("<html>502</html>", "not_json"),
        ('{"p": NaN}', "not_json"),
        ("[" + "1," * 600 + "1]", "oversize"),
    ],
)
def test_decode_frame_when_rubbish_then_refused(raw: str | bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        ticks.decode(raw, limit_bytes=1_000)


def test_read_times_when_of_each_form_then_exact_microseconds() -> None:
    assert ticks.time_from_iso("2019-08-01T00:00:03.816001Z") == 1_564_617_603_816_001
    assert ticks.time_from_decimal("1561939258.512503") == 1_561_939_258_512_503
    assert ticks.time_from_ms(1_723_161_255_342) == 1_723_161_255_342_000


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00.000000Z", "0001-01-01T00:00:00.000000Z"])
def test_read_time_when_before_bitcoin_then_refused(text: str) -> None:
    with pytest.raises(BadMessage, match="time_absurd"):
        ticks.time_from_iso(text)


class ListReader:
    """Frames are lists of [stream, dollars, book, sequence, at_us]."""

    def read(self, frame: Any) -> Iterable[Reading]:
        for stream, dollars, book, sequence, at_us in frame:
            price = None if dollars is None else ticks.price_nanos(dollars)
            yield Reading(stream, price, book, sequence, at_us)


def gate() -> tuple[Gate, list[str]]:
    refused: list[str] = []
    return Gate("venue", ListReader(), refused.append, limit_bytes=1_000), refused


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ('[["trade", 11, false, 7, 5]]', "sequence_regression"),  # the same one again
        ('[["trade", 11, false, 6, 5]]', "sequence_regression"),
        ('[["trade", 11, false, 8, 4]]', "time_regression"),
        ("[[1]]", "unknown_form"),
        ("5", "unknown_form"),
    ],
)
def test_take_frame_when_it_runs_backwards_then_counted_and_not_used(
    second: str, reason: str
) -> None:
    passing, refused = gate()
    assert passing.take('[["trade", 10, false, 7, 5]]', 1) == [Event(1, "venue", 10 * NANOS)]
    assert passing.take(second, 2) == []
    assert refused == [reason]


def test_take_frame_when_streams_differ_then_each_has_its_own_sequence() -> None:
    passing, refused = gate()
    passing.take('[["trade", 10, false, 7, 5]]', 1)
    assert passing.take('[["book", 12, true, 1, 1]]', 2) == [Event(2, "venue", 12 * NANOS)]
    assert refused == []


def test_take_trades_when_in_one_millisecond_then_ordered_by_id() -> None:
    passing, refused = gate()
    events = passing.take('[["t", 10, false, 7, 5], ["t", 11, false, 8, 5]]', 1)
    assert [event.price_nanos for event in events] == [10 * NANOS, 11 * NANOS]
    assert refused == []


def test_take_trade_when_the_book_has_spoken_then_only_a_heartbeat() -> None:
    passing, _ = gate()
    passing.take('[["book", 12, true, 1, 1]]', 1)
    assert passing.take('[["trade", 10, false, 7, 5]]', 2) == [Event(2, "venue", None)]


def test_take_frame_when_second_part_is_bad_then_first_part_counts() -> None:
    passing, refused = gate()
    events = passing.take('[["t", 10, false, 7, 5], ["t", -1, false, 8, 5]]', 1)
    assert len(events) == 1
    assert refused == ["price_not_positive"]
