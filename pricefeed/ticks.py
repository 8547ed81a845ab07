"""Raw exchange message -> readings, or a reason to refuse it. Pure.

A venue's file in `sources/` knows the venue's frames; what every venue shares stands here:
strict decoding, exact prices, and the guard against sequences and times that run backwards.
Prices are integers of 1e-9 USD, so that the middle of a bid and an ask is exact. No I/O, no
clock: receive times are handed in.
"""

import calendar
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

import msgspec

NANOS_PER_CENT: Final = 10_000_000
_NANOS_PER_USD: Final = 1_000_000_000
_PRICE_MIN_NANOS: Final = _NANOS_PER_USD
_PRICE_MAX_NANOS: Final = 100_000_000 * _NANOS_PER_USD
# Bitcoin's first block and the year 2100: a time outside is no time of a trade.
_TIME_MIN_US: Final = 1_231_006_505_000_000
_TIME_MAX_US: Final = 4_102_444_800_000_000
_DIGITS_MAX: Final = 18

# Numbers are decimals, never floats: Kraken v2 prints prices as JSON numbers.
_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class BadMessage(ValueError):
    """The message cannot be used; its text is the reason, a label of the refusal counter."""


class Reading(NamedTuple):
    """What one message says.

    `price_nanos` None is a heartbeat: the connection lives, the price has not changed.
    `book` tells a bid-ask middle from a trade. Sequence and time are per `stream` and venue.
    """

    stream: str
    price_nanos: int | None = None
    book: bool = False
    sequence: int | None = None
    at_us: int | None = None


BEAT: Final = Reading("beat")


class Event(NamedTuple):
    """A reading that passed the guard, at the receiver's own time."""

    received_us: int
    source: str
    price_nanos: int | None


class Reader(Protocol):
    """One venue's frames -> readings. A new one for every connection; raises BadMessage."""

    def read(self, frame: Any) -> Iterable[Reading]: ...


def decode(raw: str | bytes, *, limit_bytes: int) -> Any:
    """JSON with decimals. Raises BadMessage."""
    if len(raw) > limit_bytes:
        raise BadMessage("oversize")
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError):
        raise BadMessage("not_json") from None


def price_nanos(value: object) -> int:
    """A price as text, integer or Decimal, exactly. Raises BadMessage."""
    scaled = _decimal(value, "bad_price") * _NANOS_PER_USD
    if scaled <= 0:
        raise BadMessage("price_not_positive")
    if not _PRICE_MIN_NANOS <= scaled <= _PRICE_MAX_NANOS:
        raise BadMessage("price_absurd")
    nanos = int(scaled)
    if nanos != scaled:
        raise BadMessage("bad_price")
    return nanos


def _decimal(value: object, reason: str) -> Decimal:
    """A finite number of few enough digits that arithmetic on it is exact."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise BadMessage(reason)
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise BadMessage(reason) from None
    if not number.is_finite() or len(number.as_tuple().digits) > _DIGITS_MAX:
        raise BadMessage(reason)
    if abs(number.adjusted()) > _DIGITS_MAX:
        raise BadMessage(reason)
    return number


def middle_nanos(bid: object, ask: object) -> int:
    """The middle of best bid and ask. Raises BadMessage, also when they are crossed."""
    bid_nanos, ask_nanos = price_nanos(bid), price_nanos(ask)
    if bid_nanos > ask_nanos:
        raise BadMessage("crossed_book")
    return (bid_nanos + ask_nanos) // 2


def sequence(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadMessage("bad_sequence")
    return value


def time_us(us: int) -> int:
    if not _TIME_MIN_US <= us <= _TIME_MAX_US:
        raise BadMessage("time_absurd")
    return us


def time_from_ms(value: object) -> int:
    return time_us(sequence(value) * 1_000)


def time_from_iso(value: object) -> int:
    """`2026-07-10T00:00:02.123456Z`, exactly."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise BadMessage("bad_time") from None
    if at.tzinfo is None:
        raise BadMessage("bad_time")
    return time_us(calendar.timegm(at.utctimetuple()) * 1_000_000 + at.microsecond)


def time_from_decimal(value: object) -> int:
    """Kraken v1's `"1561939201.587070"`, exactly."""
    return time_us(int(_decimal(value, "bad_time") * 1_000_000))


class Gate:
    """One connection's frames -> events: decode, read, guard.

    Whatever is refused is told to `refused(reason)` and has no other effect. Once the venue's
    book has spoken, its trades no longer set the price: they prove the connection.
    """

    def __init__(
        self, source: str, reader: Reader, refused: Callable[[str], None], *, limit_bytes: int
    ) -> None:
        self._source = source
        self._reader = reader
        self._refused = refused
        self._limit_bytes = limit_bytes
        self._sequences: dict[str, int] = {}
        self._times_us: dict[str, int] = {}
        self._has_book = False

    def take(self, raw: str | bytes, received_us: int) -> list[Event]:
        events: list[Event] = []
        try:
            frame = decode(raw, limit_bytes=self._limit_bytes)
            for reading in self._reader.read(frame):
                self._guard(reading)
                events.append(Event(received_us, self._source, self._price_of(reading)))
        except BadMessage as bad:
            self._refused(str(bad))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            self._refused("unknown_form")
        return events

    def _guard(self, reading: Reading) -> None:
        stream = reading.stream
        if reading.sequence is not None:
            if reading.sequence <= self._sequences.get(stream, -1):
                raise BadMessage("sequence_regression")
            self._sequences[stream] = reading.sequence
        if reading.at_us is not None:
            if reading.at_us < self._times_us.get(stream, 0):
                raise BadMessage("time_regression")
            self._times_us[stream] = reading.at_us

    def _price_of(self, reading: Reading) -> int | None:
        if reading.book:
            self._has_book = True
            return reading.price_nanos
        return None if self._has_book else reading.price_nanos
