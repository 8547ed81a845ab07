"""Messages in each exchange's own form, written here: no recording is needed."""

import json
from typing import Any

import pytest

from pricefeed.sources import binance, coinbase, kraken
from pricefeed.sources.binance import BinanceReader
from pricefeed.sources.coinbase import CoinbaseReader
from pricefeed.sources.kraken import KrakenReader
from pricefeed.ticks import BEAT, Gate, Reader

CENT = 10_000_000


class Heard:
    """A gate with its refusals; prices in cents, None for a heartbeat."""

    def __init__(self, reader: Reader) -> None:
        self.refused: list[str] = []
        self._gate = Gate("venue", reader, self.refused.append, limit_bytes=10_000)

    def take(self, frame: Any) -> list[float | None]:
        raw = frame if isinstance(frame, str) else json.dumps(frame)
        events = self._gate.take(raw, 1)
        return [None if e.price_nanos is None else e.price_nanos / CENT for e in events]


@pytest.mark.parametrize("reader", [BinanceReader(), CoinbaseReader(), KrakenReader()])
@pytest.mark.parametrize("frame", ["5", '"text"', "null", '{"type":5,"data":[]}', "[[],[],[]]"])
def test_read_any_venue_when_the_form_is_unknown_then_no_price(reader: Reader, frame: str) -> None:
    heard = Heard(reader)
    assert heard.take(frame) == []
    assert heard.refused in ([], ["unknown_form"])


def book_ticker(u: int, bid: str, ask: str, symbol: str = "BTCUSDT") -> dict[str, Any]:
    data = {"u": u, "s": symbol, "b": bid, "B": "3.7", "a": ask, "A": "1.5"}
    return {"stream": f"{symbol.lower()}@bookTicker", "data": data}


def trade(t: int, price: str, at_ms: int = 1_723_161_255_342) -> dict[str, Any]:
    data = {"e": "trade", "E": at_ms + 1, "s": "BTCUSDT", "t": t, "p": price, "q": "1", "T": at_ms}
    return {"stream": "btcusdt@trade", "data": data}


def depth() -> dict[str, Any]:
    data = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": [], "a": []}
    return {"stream": "btcusdt@depth@100ms", "data": data}


def test_read_binance_when_of_each_stream_then_price_or_heartbeat() -> None:
    heard = Heard(BinanceReader())
    assert heard.take(trade(1, "61837.63")) == [6_183_763]
    assert heard.take(book_ticker(10, "61837.63", "61837.64")) == [6_183_763.5]
    assert heard.take(trade(2, "61900.00")) == [None]
    assert heard.take(depth()) == [None]
    assert heard.take({"lastUpdateId": 1, "bids": [], "asks": []}) == []
    assert heard.take({"result": None, "id": 1}) == []
    assert heard.refused == []


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (book_ticker(10, "1", "2"), "sequence_regression"),
        (book_ticker(11, "61838", "61837"), "crossed_book"),
        (book_ticker(11, "0.00", "61837"), "price_not_positive"),
        (book_ticker(11, "2000", "2001", "ETHUSDT"), "wrong_symbol"),
        (trade(5, "61837", at_ms=0), "time_absurd"),
        ({"stream": "btcusdt@trade", "data": {"s": "BTCUSDT"}}, "unknown_form"),
        ("HTTP/1.1 500", "not_json"),
    ],
)
def test_read_binance_when_bad_then_refused_by_reason(frame: Any, reason: str) -> None:
    heard = Heard(BinanceReader())
    heard.take(book_ticker(10, "61837.63", "61837.64"))
    assert heard.take(frame) == []
    assert heard.refused == [reason]


def coinbase_ticker(sequence: int, bid: str, ask: str, time: str) -> dict[str, Any]:
    return {
        "type": "ticker",
        "sequence": sequence,
        "product_id": "BTC-USD",
        "price": bid,
        "best_bid": bid,
        "best_ask": ask,
        "time": time,
    }


def coinbase_match(kind: str, sequence: int, price: str) -> dict[str, Any]:
    return {
        "type": kind,
        "trade_id": 1,
        "sequence": sequence,
        "product_id": "BTC-USD",
        "size": "1",
        "price": price,
        "time": "2021-04-01T00:00:01.618503Z",
    }


NOON = "2021-04-01T12:00:00.000001Z"


def test_read_coinbase_when_subscribing_then_old_trade_and_old_ticker_refresh_nothing() -> None:
    heard = Heard(CoinbaseReader())
    assert heard.take({"type": "subscriptions", "channels": []}) == []
    assert heard.take(coinbase_match("last_match", 5, "58000.00")) == []
    assert heard.take(coinbase_ticker(5, "58800.00", "58800.01", NOON)) == []
    assert heard.take(coinbase_ticker(6, "58800.00", "58800.03", NOON)) == [5_880_001.5]
    assert heard.refused == []


def test_read_coinbase_when_streaming_then_match_ticker_heartbeat() -> None:
    heard = Heard(CoinbaseReader())
    assert heard.take(coinbase_match("match", 5, "58000.00")) == [5_800_000]
    heard.take(coinbase_ticker(6, "58800.00", "58800.00", NOON))
    assert heard.take(coinbase_ticker(7, "58800.00", "58800.00", NOON)) == [5_880_000]
    assert heard.take({"type": "heartbeat", "product_id": "BTC-USD", "sequence": 1}) == [None]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (coinbase_ticker(6, "1000", "1001", NOON), "sequence_regression"),
        (coinbase_ticker(9, "1000", "1001", "2021-04-01T11:59:59.999999Z"), "time_regression"),
        (coinbase_ticker(9, "1000", "1001", "yesterday"), "bad_time"),
        ({**coinbase_match("match", 9, "1"), "product_id": "ETH-USD"}, "wrong_symbol"),
        ({"type": "error", "message": "slow down"}, "venue_error"),
    ],
)
def test_read_coinbase_when_bad_then_refused_by_reason(frame: Any, reason: str) -> None:
    heard = Heard(CoinbaseReader())
    heard.take(coinbase_ticker(5, "58800.00", "58800.01", NOON))
    heard.take(coinbase_ticker(6, "58800.00", "58800.01", NOON))
    assert heard.take(frame) == []
    assert heard.refused == [reason]


def kraken_ticker(bid: str, ask: str, time: str = "2026-07-10T00:00:02.123456Z") -> str:
    entry = f'{{"symbol":"BTC/USD","bid":{bid},"ask":{ask},"timestamp":"{time}"}}'
    return f'{{"channel":"ticker","type":"update","data":[{entry}]}}'


def kraken_trade(kind: str, price: str, trade_id: int) -> str:
    entry = (
        f'{{"symbol":"BTC/USD","side":"buy","price":{price},"qty":0.25,"trade_id":{trade_id},'
        '"timestamp":"2026-07-10T00:00:00.123456Z"}'
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{entry}]}}'


def test_read_kraken_when_prices_are_numbers_then_exact() -> None:
    # As a double, 100.1 + 99.9 is 200.00000000000003 in some orders of adding.
    gate = Gate("kraken", KrakenReader(), pytest.fail, limit_bytes=1_000)
    (event,) = gate.take(kraken_ticker("99.90000001", "100.1"), 1)
    assert event.price_nanos == 100_000_000_005


def test_read_kraken_when_snapshot_then_nothing_is_refreshed() -> None:
    heard = Heard(KrakenReader())
    assert heard.take(kraken_trade("snapshot", "100.1", 122)) == []
    assert heard.take(kraken_trade("update", "100.1", 123)) == [10_010]
    assert heard.take({"channel": "heartbeat"}) == [None]
    assert heard.take({"method": "subscribe", "success": True, "result": {}}) == []
    assert heard.refused == []


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (kraken_ticker("0", "0", "1970-01-01T00:00:00.000000Z"), "time_absurd"),
        (kraken_ticker("0", "0"), "price_not_positive"),
        (kraken_ticker("99", "100").replace("BTC", "ANETx"), "wrong_symbol"),
        (kraken_trade("update", "100.1", 123), "sequence_regression"),
        ({"method": "subscribe", "success": False, "error": "no"}, "venue_error"),
    ],
)
def test_read_kraken_when_bad_then_refused_by_reason(frame: Any, reason: str) -> None:
    heard = Heard(KrakenReader())
    heard.take(kraken_trade("update", "100.1", 123))
    assert heard.take(frame) == []
    assert heard.refused == [reason]


def test_read_kraken_v1_when_arrays_then_trades_spread_and_heartbeat() -> None:
    heard = Heard(KrakenReader())
    first = ["9482.40000", "0.01", "1561939258.512503", "s", "l", ""]
    second = ["9488.20000", "0.28", "1561939258.557040", "b", "l", ""]
    assert heard.take([14, [first, second], "trade", "XBT/USD"]) == [948_240, 948_820]
    assert heard.take({"event": "heartbeat"}) == [None]
    spread = ["9482.40000", "9482.60000", "1561939259.000000", "1", "2"]
    assert heard.take([325, spread, "spread", "XBT/USD"]) == [948_250]
    assert heard.take([923, {"as": [], "bs": []}, None, "book-1000", "ADA/CAD"]) == []
    assert heard.take([14, [first], "trade", "XBT/EUR"]) == []
    assert heard.refused == ["wrong_symbol"]


def test_name_subscriptions_when_connecting_then_each_venue_s_own_form() -> None:
    assert binance.venue("wss://b/stream").url == (
        "wss://b/stream?streams=btcusdt@bookTicker/btcusdt@trade/btcusdt@depth@100ms"
    )
    (hello,) = coinbase.venue("wss://c").hello
    assert json.loads(hello) == {
        "type": "subscribe",
        "product_ids": ["BTC-USD"],
        "channels": ["ticker", "matches", "heartbeat"],
    }
    ticker, trades = (json.loads(frame) for frame in kraken.venue("wss://k").hello)
    assert ticker["params"] == {
        "channel": "ticker",
        "symbol": ["BTC/USD"],
        "snapshot": False,
        "event_trigger": "bbo",
    }
    assert trades["params"]["channel"] == "trade"


def test_share_heartbeat_when_venues_differ_then_it_names_no_price() -> None:
    assert BEAT.price_nanos is None
    assert BEAT.sequence is None
