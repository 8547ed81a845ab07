"""Kraken: v2 ticker on every change of best bid and ask, and trades; v1 frames are read too.

v2 prints prices as JSON numbers (decoded as Decimal, see ticks.py). Its heartbeat comes by
itself each second in which nothing else does. v1 frames are arrays.
"""

import json
from collections.abc import Iterable
from typing import Any

from pricefeed import ticks
from pricefeed.sources.venue import Venue
from pricefeed.ticks import BEAT, BadMessage, Reading

SYMBOL = "BTC/USD"
_SYMBOL_V1 = "XBT/USD"


def venue(url: str, symbol: str = SYMBOL) -> Venue:
    def subscribe(channel: str, **more: str) -> str:
        params = {"channel": channel, "symbol": [symbol], "snapshot": False, **more}
        return json.dumps({"method": "subscribe", "params": params})

    hello = (subscribe("ticker", event_trigger="bbo"), subscribe("trade"))
    return Venue("kraken", url, hello, lambda: KrakenReader(symbol))


class KrakenReader:
    def __init__(self, symbol: str = SYMBOL, symbol_v1: str = _SYMBOL_V1) -> None:
        self._symbol = symbol
        self._symbol_v1 = symbol_v1

    def read(self, frame: Any) -> Iterable[Reading]:
        if isinstance(frame, list):
            yield from self._read_v1(frame)
        elif frame.get("event") == "heartbeat" or frame.get("channel") == "heartbeat":
            yield BEAT
        elif frame.get("success") is False or frame.get("status") == "error":
            raise BadMessage("venue_error")
        elif frame.get("channel") in ("ticker", "trade") and frame["type"] != "snapshot":
            yield from self._read_v2(frame["channel"], frame["data"])

    def _read_v2(self, channel: str, entries: list[Any]) -> Iterable[Reading]:
        for entry in entries:
            if entry["symbol"] != self._symbol:
                raise BadMessage("wrong_symbol")
            if channel == "ticker":
                at = entry.get("timestamp")  # older servers leave it out
                at_us = None if at is None else ticks.time_from_iso(at)
                middle = ticks.middle_nanos(entry["bid"], entry["ask"])
                yield Reading(channel, middle, True, None, at_us)
                continue
            price, trade_id = ticks.price_nanos(entry["price"]), ticks.sequence(entry["trade_id"])
            at_us = ticks.time_from_iso(entry["timestamp"])
            yield Reading(channel, price, False, trade_id, at_us)

    def _read_v1(self, frame: list[Any]) -> Iterable[Reading]:
        channel, pair = frame[-2], frame[-1]
        if channel not in ("trade", "spread"):
            return
        if pair != self._symbol_v1:
            raise BadMessage("wrong_symbol")
        if channel == "spread":
            bid, ask, at = frame[1][:3]
            middle = ticks.middle_nanos(bid, ask)
            yield Reading(channel, middle, True, None, ticks.time_from_decimal(at))
            return
        for price, _, at, *_ in frame[1]:
            at_us = ticks.time_from_decimal(at)
            yield Reading(channel, ticks.price_nanos(price), False, None, at_us)
