"""GET config, status, price, prices and grid as a client sees them, without Django."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import pytest
from django.db import OperationalError

from bets import reads
from bets.candles import KEPT_MAX, Moment, Pages, Span
from bets.quotes import Quotes
from pricefeed import recorder
from pricefeed.board import Board, FeedState, TickRecord
from pricefeed.recorder import Candle, Candles
from taptrading import clock

NOW_US = 1_764_000_001_234_567


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FrozenClock(clock.Clock):
    def now_us(self) -> int:
        return NOW_US


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reads, "pages", Pages())
    before = clock.current()
    clock.use(FrozenClock())
    yield
    clock.use(before)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    fresh = Board()
    monkeypatch.setattr(reads, "board", fresh)
    monkeypatch.setattr(reads, "quotes", Quotes(fresh.refusal))
    return fresh


async def ask(path: str, method: str = "GET", **headers: str) -> Answer:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing here reads a body")

    path, _, query = path.partition("?")
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    await reads.app(
        {"path": path, "query_string": query.encode(), "method": method, "headers": raw},
        receive,
        send,
    )
    start, body = sent
    named = {name.decode(): value.decode() for name, value in start["headers"]}
    assert len(named) == len(start["headers"])
    return Answer(start["status"], named, body["body"])


def with_price(board: Board) -> None:
    tick = TickRecord(41, NOW_US // 1_000 - 134, 9_500_123, 400_000, 0, "simulated")
    board.apply(FeedState(tick, "closed"))
    reads.quotes.refresh(tick)


async def test_get_config_names_the_rules_of_the_game(settings: Any) -> None:
    answer = await ask("/api/v1/config")
    assert answer.status == 200
    assert answer.json == {
        "domain": settings.DOMAIN,
        "chain_id": settings.CHAIN_ID,
        "version": 1,
        "presets_micros": [1_000_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000],
        "column_s": 5,
        "band_cents": 1_000,
        "columns": 12,
        "bands": 24,
        "locked_columns": 2,
        "edge_bps": 300,
        "index_hz": 10,
        "pricing_delay_ms": 250,
        "rate_max_bps": 200_000,
        "demo": settings.DEMO,
    }


async def test_get_config_when_unchanged_answers_304() -> None:
    first = await ask("/api/v1/config/")
    again = await ask("/api/v1/config", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert "content-length" not in again.headers


async def test_get_price_when_there_is_one_tells_its_age(board: Board) -> None:
    with_price(board)
    answer = await ask("/api/v1/price")
    assert answer.json == {
        "price_cents": 9_500_123,
        "at": "2025-11-24T16:00:01.100Z",
        "seq": 41,
        "age_ms": 134,
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_get_price_when_there_is_none_yet_is_stale(board: Board) -> None:
    answer = await ask("/api/v1/price", x_request_id="mine-1")
    assert answer.status == 503
    assert (answer.json["error"], answer.json["request_id"]) == ("price_stale", "mine-1")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-request-id"] == "mine-1"


async def test_get_status_when_there_is_no_price_is_open(board: Board) -> None:
    answer = await ask("/api/v1/status")
    assert answer.json["breaker"] == "open"
    assert answer.json["price_age_ms"] is None
    assert answer.json["server_time"] == "2025-11-24T16:00:01.234Z"


async def test_get_grid_when_suspended_is_empty_and_else_offers_cells(board: Board) -> None:
    assert (await ask("/api/v1/grid")).json["cells"] == []
    with_price(board)
    grid = (await ask("/api/v1/grid")).json
    assert grid["price_cents"] == 9_500_123
    assert {"cell_id", "rate_bps", "room_micros"} == set(grid["cells"][0])


@pytest.mark.parametrize("path", ["config", "status", "price", "prices", "grid"])
async def test_any_when_posted_to_is_405_and_says_what_is_allowed(path: str, board: Board) -> None:
    answer = await ask(f"/api/v1/{path}", method="POST")
    assert (answer.status, answer.json["error"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    options = await ask(f"/api/v1/{path}/", method="OPTIONS")
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_head_when_asked_has_the_length_but_no_body(board: Board) -> None:
    head, get = await ask("/api/v1/grid", method="HEAD"), await ask("/api/v1/grid")
    assert head.body == b""
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.body))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int, int]]:
    """What the recorder was asked for; it answers with one candle and says that there are more."""
    asked: list[tuple[int, int, int, int]] = []

    def ohlc(from_us: int, to_us: int, step_s: int, limit: int) -> Candles:
        asked.append((from_us, to_us, step_s, limit))
        return Candles([Candle(1_764_000_000_000_000, 5, 3, 9, 7)], has_older=len(asked) == 1)

    monkeypatch.setattr(recorder, "ohlc", ohlc)
    return asked


async def test_get_prices_when_there_are_more_then_next_asks_for_older_ones(
    asked: list[tuple[int, int, int, int]],
) -> None:
    answer = await ask(
        "/api/v1/prices?from=2025-11-24T15:00:00Z&to=2025-11-24T16:01:00Z&step_s=10&limit=3"
    )
    candle = {
        "at": "2025-11-24T16:00:00.000Z",
        "open_cents": 5,
        "low_cents": 3,
        "high_cents": 9,
        "close_cents": 7,
    }
    next_url = answer.json["next"]
    assert answer.json["results"] == [candle]
    assert next_url.startswith("/api/v1/prices?")
    assert (await ask(next_url)).json == {"results": [candle], "next": None}
    from_us = 1_763_996_400_000_000
    assert asked == [
        (from_us, 1_764_000_060_000_000, 10, 3),
        (from_us, 1_764_000_000_000_000, 10, 3),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (0, NOW_US, 5, 50)),
        ("limit=200", (0, NOW_US, 5, 200)),
        ("limit=200&step_s=3600", (0, NOW_US, 3_600, 24)),  # a page of a day
        ("step_s=86400", (0, NOW_US, 86_400, 1)),
        (
            "from=2025-11-24T16:00:01Z&to=2025-11-24T16:00:00Z",
            (1_764_000_001_000_000, 1_764_000_000_000_000, 5, 50),
        ),
    ],
)
async def test_get_prices_when_little_is_asked_for_then_the_newest_of_a_bounded_page(
    asked: list[tuple[int, int, int, int]], query: str, expected: tuple[int, int, int, int]
) -> None:
    await ask(f"/api/v1/prices?{query}")
    assert asked == [expected]


@pytest.mark.parametrize(
    "query",
    [
        "step_s=",
        "step_s=0",
        "step_s=-1",
        "step_s=1.5",
        "step_s=86401",
        "step_s=%C2%B2",
        "step_s=5&step_s=5",
        "limit=",
        "limit=0",
        "limit=201",
        "limit=x",
        "from=",
        "to=",
        "from=yesterday",
        "from=2025-02-30T00:00:00Z",
        "from=2025-11-24",
        "from=2025-11-24T16:00:00",
        "to=1764000060",
        "to=99999999999999999999",
        "from=%ff",
        "&".join(f"a{n}=1" for n in range(30)),
    ],
)
async def test_get_prices_when_the_query_is_wrong_is_refused(query: str) -> None:
    answer = await ask(f"/api/v1/prices?{query}")
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


async def test_get_prices_when_the_database_fails_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> Candles:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(recorder, "ohlc", fail)
    answer = await ask("/api/v1/prices")
    assert (answer.status, answer.json["error"]) == (503, "dependency_unavailable")
    assert "disk" not in answer.body.decode()


async def test_get_prices_when_asked_again_before_the_next_tick_then_read_once(
    asked: list[tuple[int, int, int, int]], board: Board
) -> None:
    with_price(board)
    first = await ask("/api/v1/prices?step_s=10")
    again = await asyncio.gather(*(ask("/api/v1/prices?step_s=10&limit=50") for _ in range(3)))
    assert len(asked) == 1
    assert [json.loads(answer.body)["results"] for answer in again] == [first.json["results"]] * 3
    await ask("/api/v1/prices?step_s=20")
    assert len(asked) == 2


async def test_get_prices_when_a_tick_came_or_a_second_passed_then_read_anew(
    asked: list[tuple[int, int, int, int]],
) -> None:
    pages, span = Pages(), Span(0, NOW_US, 5, 50)
    for moment in (Moment(1, 1), Moment(1, 1), Moment(2, 1), Moment(2, 2)):
        await pages.page(span, moment)
    assert len(asked) == 3


async def test_get_prices_when_reading_failed_then_the_next_one_reads_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Any] = [OperationalError("disk I/O error"), Candles([], has_older=False)]

    def ohlc(*_: int) -> Candles:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast(Candles, answer)

    monkeypatch.setattr(recorder, "ohlc", ohlc)
    assert (await ask("/api/v1/prices")).status == 503
    await asyncio.sleep(0)
    assert (await ask("/api/v1/prices")).json == {"results": [], "next": None}


async def test_get_prices_when_many_different_pages_are_asked_for_then_few_are_kept(
    asked: list[tuple[int, int, int, int]],
) -> None:
    pages = Pages()
    for limit in range(1, KEPT_MAX + 2):
        await pages.page(Span(0, NOW_US, 5, limit), Moment(1, 1))
    await pages.page(Span(0, NOW_US, 5, 1), Moment(1, 1))
    assert len(asked) == KEPT_MAX + 1
    await pages.page(Span(0, NOW_US, 5, KEPT_MAX + 1), Moment(1, 1))
    assert len(asked) == KEPT_MAX + 2
