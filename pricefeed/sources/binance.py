"""Binance spot: combined streams of book ticker, trades and depth (the 100 ms heartbeat)."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from pricefeed import ticks
from pricefeed.sources.venue import Venue
from pricefeed.ticks import BEAT, BadMessage, Reading

SYMBOL = "BTCUSDT"


def venue(url: str, symbol: str = SYMBOL) -> Venue:
    name = symbol.lower()
    streams = "/".join(f"{name}@{stream}" for stream in ("bookTicker", "trade", "depth@100ms"))
    full_url = f"{url}?{urlencode({'streams': streams}, safe='/@')}"
    return Venue("binance", full_url, (), lambda: BinanceReader(symbol))


class BinanceReader:
    def __init__(self, symbol: str = SYMBOL) -> None:
        self._symbol = symbol

    def read(self, frame: Any) -> Iterable[Reading]:
        """Book ticker -> middle, trade -> price, depth -> heartbeat; anything else nothing.

        A REST depth snapshot inside a recording, or a reply to a request, has no stream.
        """
        stream = frame.get("stream")
        if stream is None:
            return
        data, kind = frame["data"], stream.partition("@")[2]
        if kind not in ("bookTicker", "trade", "depth@100ms"):
            return
        if data["s"] != self._symbol:
            raise BadMessage("wrong_symbol")
        if kind == "bookTicker":
            yield Reading(
                kind, ticks.middle_nanos(data["b"], data["a"]), True, ticks.sequence(data["u"])
            )
        elif kind == "trade":
            price = ticks.price_nanos(data["p"])
            # Many trades share a millisecond: their order is by trade id.
            at_us = ticks.time_from_ms(data["T"])
            yield Reading(kind, price, False, ticks.sequence(data["t"]), at_us)
        else:
            yield BEAT
