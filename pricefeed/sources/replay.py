"""A recording, played again on its own receive times, shifted by a multiple of a column.

Three forms, told apart by their names: raw captures `<ns> <json>` (.jsonl.gz), raw sessions
`<epoch>: <json>` (.txt.gz, the venue in the name), and complete lists of trades
`ts_ms,price,qty` (.csv.gz). Files are read lazily and joined in the order given. Outcomes are
the same net of the shift.
"""

import gzip
import io
import logging
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from pricefeed.sources import Refused
from pricefeed.sources.binance import BinanceReader
from pricefeed.sources.coinbase import CoinbaseReader
from pricefeed.sources.kraken import KrakenReader
from pricefeed.ticks import BadMessage, Event, Gate, Reader, price_nanos, time_from_ms
from taptrading.limits import LIMITS

log = logging.getLogger(__name__)

_US_PER_S: Final = 1_000_000
_CATCH_UP_MS: Final = 10_000
# A list of trades has no heartbeats of its own. It is complete, so between two of its trades
# the venue was alive and the price was the last one's.
_BEAT_US: Final = _US_PER_S
# The price of the first message may come a moment after the first message.
_SLACK_US: Final = _US_PER_S


def _raw_frames(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        received_ns, _, raw = line.partition(" ")
        yield int(received_ns) // 1_000, raw


def _session_frames(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        if line[:1].isdigit():  # the others name the address and what was sent
            received_s, _, raw = line.partition(": ")
            yield int(Decimal(received_s) * _US_PER_S), raw


def _trade_events(lines: Iterable[str], name: str, refused: Refused) -> Iterator[Event]:
    heard_us: int | None = None
    for line in lines:
        ts_ms, price, *_ = line.split(",")
        if ts_ms == "ts_ms":
            continue
        try:
            event = Event(time_from_ms(int(ts_ms)), name, price_nanos(price))
        except (BadMessage, ValueError) as bad:
            refused(name, str(bad) if isinstance(bad, BadMessage) else "unknown_form")
            continue
        if heard_us is not None and event.received_us < heard_us:
            refused(name, "time_regression")
            continue
        if heard_us is not None:
            for beat_us in range(heard_us + _BEAT_US, event.received_us, _BEAT_US):
                yield Event(beat_us, name, None)
        heard_us = event.received_us
        yield event


def _reader(path: Path) -> Reader:
    if "COINBASE" in path.name.upper():
        return CoinbaseReader()
    return KrakenReader() if "KRAKEN" in path.name.upper() else BinanceReader()


def read_events(paths: Iterable[Path], name: str, refused: Refused) -> Iterator[Event]:
    """Every event of these files at its recorded receive time, never running backwards."""
    gate: Gate | None = None
    newest_us = 0
    for path in paths:
        with gzip.open(path) as packed, io.TextIOWrapper(packed, encoding="utf-8") as lines:
            if path.name.endswith(".csv.gz"):
                events = _trade_events(lines, name, refused)
            else:
                gate = gate or Gate(
                    name,
                    _reader(path),
                    lambda reason: refused(name, reason),
                    limit_bytes=LIMITS.source_message_bytes,
                )
                events = _gated(gate, path, lines)
            for event in events:
                if event.received_us < newest_us:
                    refused(name, "time_regression")
                    continue
                newest_us = event.received_us
                yield event


def _gated(gate: Gate, path: Path, lines: Iterable[str]) -> Iterator[Event]:
    is_session = path.name.endswith(".txt.gz")
    frames = _session_frames(lines) if is_session else _raw_frames(lines)
    for received_us, raw in frames:
        yield from gate.take(raw, received_us)


class ReplaySource:
    """A `Source` whose recording starts now, less the warm-up, which is past at once."""

    name = "replay"
    catch_up_ms = _CATCH_UP_MS

    def __init__(self, paths: list[Path], refused: Refused) -> None:
        self._paths = paths
        self._refused = refused
        self._events: Iterator[Event] = iter(())
        self._next: Event | None = None
        self.shift_us = 0

    async def start(self, now_us: int) -> int:
        """Raises OSError when a recording is not there, ValueError when it holds no event."""
        for path in self._paths:
            path.stat()
        self._events = read_events(self._paths, self.name, self._refused)
        first = next(self._events, None)
        if first is None:
            raise ValueError("the recording holds no event")
        column_us = LIMITS.column_s * _US_PER_S
        since_us = now_us - LIMITS.warmup_ms * 1_000 - _SLACK_US
        self.shift_us = (since_us - first.received_us) // column_us * column_us
        self._next = self._shifted(first)
        log.info("source=replay action=start files=%d shift_us=%d", len(self._paths), self.shift_us)
        return self._next.received_us

    async def stop(self) -> None:
        self._events = iter(())
        self._next = None

    def drain(self, until_us: int) -> list[Event]:
        events: list[Event] = []
        while self._next is not None and self._next.received_us <= until_us:
            events.append(self._next)
            following = next(self._events, None)
            if following is None:
                log.warning("source=replay action=ended: no more ticks, the breaker will open")
                self._next = None
            else:
                self._next = self._shifted(following)
        return events

    def is_lost(self) -> bool:
        return False

    def _shifted(self, event: Event) -> Event:
        return event._replace(received_us=event.received_us + self.shift_us)
