"""Coinbase Exchange: ticker (best bid and ask), matches, and the heartbeat of each second."""

import json
from collections.abc import Iterable
from typing import Any

from pricefeed import ticks
from pricefeed.sources.venue import Venue
from pricefeed.ticks import BEAT, BadMessage, Reading

SYMBOL = "BTC-USD"


def venue(url: str, symbol: str = SYMBOL) -> Venue:
    channels = ["ticker", "matches", "heartbeat"]
    hello = json.dumps({"type": "subscribe", "product_ids": [symbol], "channels": channels})
    return Venue("coinbase", url, (hello,), lambda: CoinbaseReader(symbol))


class CoinbaseReader:
    """Subscribing is answered with the last match and the last ticker, however old they are:
    neither is read, and neither refreshes an age."""

    def __init__(self, symbol: str = SYMBOL) -> None:
        self._symbol = symbol
        self._had_first_ticker = False

    def read(self, frame: Any) -> Iterable[Reading]:
        kind = frame["type"]
        if kind == "error":
            raise BadMessage("venue_error")
        if kind not in ("ticker", "match", "heartbeat"):
            return
        if frame["product_id"] != self._symbol:
            raise BadMessage("wrong_symbol")
        if kind == "heartbeat":
            yield BEAT
            return
        sequence, at_us = ticks.sequence(frame["sequence"]), ticks.time_from_iso(frame["time"])
        if kind == "match":
            yield Reading(kind, ticks.price_nanos(frame["price"]), False, sequence, at_us)
            return
        middle = ticks.middle_nanos(frame["best_bid"], frame["best_ask"])
        if self._had_first_ticker:
            yield Reading(kind, middle, True, sequence, at_us)
        self._had_first_ticker = True
