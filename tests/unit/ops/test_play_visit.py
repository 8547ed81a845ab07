"""A whole visit, over a real WebSocket, to a small platform of this file's own.

Its books are kept in a list, its prices stand still, and it can be told to misbehave.
"""

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from rich.console import Console
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ops.play.game import Game
from ops.play.journal import Tap
from ops.play.options import Options, PlayError
from ops.play.screen import PlainScreen
from ops.play.trader import Result, Trader, summary
from taptrading.client import Client

NOW_S = 1_764_000_000
NOW = datetime.fromtimestamp(NOW_S, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
COLUMNS = [NOW_S + 20 + 5 * number for number in range(4)]
LOWS = [1_000, 2_000, 3_000, 4_000]
CONFIG = {
    "domain": "tap.example",
    "chain_id": 1,
    "version": 1,
    "presets_micros": [5_000_000],
    "column_s": 5,
    "band_cents": 1_000,
    "columns": 12,
    "bands": 24,
    "locked_columns": 2,
    "edge_bps": 300,
    "index_hz": 10,
    "pricing_delay_ms": 250,
    "rate_max_bps": 200_000,
    "demo": True,
}


class Platform:
    """The price of every column stays in [1500, 1999]: only the lowest band is touched."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.bets: dict[str, dict[str, Any]] = {}
        self.deposits: list[dict[str, Any]] = []
        self.withdrawals: list[dict[str, Any]] = []
        self.revoked: list[str] = []
        self.refusals: list[str] = []  # codes of the next bets
        self.rejections: list[str] = []  # reasons of the next bets at their pricing tick
        self.pays: Callable[[int], int] = lambda micros: micros
        self.loses_events = False
        self.lost_replies = 0  # of the next bets: they are placed, and nobody is told
        self.hangs_up_after = 0  # events: then every socket is closed, once
        self.url = ""
        self._lock = threading.Lock()
        self._cursor = 0
        self._sockets: list[tuple[ServerConnection, Iterator[int]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # The books.

    @property
    def balance_micros(self) -> int:
        return self.entries[-1]["balance_after_micros"] if self.entries else 0

    def move(self, kind: str, reference: str, amount_micros: int) -> None:
        self._cursor += 1
        self.entries.append(
            {
                "entry_id": str(len(self.entries)),
                "kind": kind,
                "reference": reference,
                "amount_micros": amount_micros,
                "balance_after_micros": self.balance_micros + amount_micros,
                "created_at": NOW,
            }
        )

    def wallet(self) -> dict[str, Any]:
        still = [b for b in self.bets.values() if b["status"] in ("accepted", "confirmed")]
        return {
            "address": "0x1",
            "balance_micros": self.balance_micros,
            "held_micros": 0,
            "open_stake_micros": sum(bet["stake_micros"] for bet in still),
            "frozen": False,
        }

    def place(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.refusals:
            return 422, {"error": self.refusals.pop(0), "message": "No.", "detail": {}}
        bet = {
            **{key: asked[key] for key in ("cell_id", "stake_micros", "min_rate_bps", "nonce")},
            **dict.fromkeys(("rate_bps", "potential_payout_micros", "payout_micros")),
            **dict.fromkeys(("confirmed_at", "resolved_at", "reason")),
            "bet_id": str(len(self.bets) + 1),
            "status": "accepted",
            "accepted_at": NOW,
        }
        self.bets[bet["bet_id"]] = bet
        self.move("STAKE", f"bet:{bet['bet_id']}", -bet["stake_micros"])
        self._later(0.01, self._price, bet)
        return 202, self._told(bet)

    def _told(self, bet: dict[str, Any]) -> dict[str, Any]:
        return bet | {"cursor": self._cursor, "balance_micros": self.balance_micros}

    def _price(self, bet: dict[str, Any]) -> None:
        if self.rejections:
            bet |= {"status": "rejected", "reason": self.rejections.pop(0)}
            self.move("REFUND", f"bet:{bet['bet_id']}", bet["stake_micros"])
            self.tell("bet.rejected", self._told(bet))
            return
        bet |= {"status": "confirmed", "rate_bps": 15_001, "confirmed_at": NOW}
        self._cursor += 1
        self.tell("bet.confirmed", self._told(bet))
        self._later(0.02, self._resolve, bet)

    def _resolve(self, bet: dict[str, Any]) -> None:
        paid = 0
        if bet["cell_id"].endswith("_1000_2000"):
            paid = self.pays(bet["stake_micros"] * 15_001 // 10_000)
            self.move("PAYOUT", f"bet:{bet['bet_id']}", paid)
        self._cursor += 1
        bet |= {"status": "won" if paid else "lost", "payout_micros": paid, "resolved_at": NOW}
        self.tell("bet.resolved", self._told(bet))

    # HTTP.

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/")
        asked = json.loads(request.content or b"{}")
        with self._lock:
            status, body = self._answer(request.method, path, asked)
        if (request.method, path) == ("POST", "bets") and self.lost_replies:
            self.lost_replies -= 1
            raise httpx.ReadTimeout("too late")
        return httpx.Response(status, json=body) if body is not None else httpx.Response(status)

    def _answer(self, method: str, path: str, asked: dict[str, Any]) -> tuple[int, Any]:
        match method, path.split("/"):
            case _, ["config"]:
                return 200, CONFIG
            case _, ["status"]:
                breaker = {"breaker": "closed", "override": "auto", "reason": ""}
                return 200, breaker | {"price_age_ms": 1, "server_time": NOW}
            case _, ["auth", "nonce"]:
                return 200, {"nonce": "abcdefgh", "expires_at": NOW}
            case _, ["auth", "login"]:
                return 200, {"token": "t", "expires_at": NOW, "wallet": self.wallet()["address"]}
            case _, ["wallet"]:
                return 200, self.wallet()
            case _, ["ledger"]:
                return 200, _page(self.entries)
            case "POST", ["bets"]:
                return self.place(asked)
            case _, ["bets"]:
                return 200, _page(list(self.bets.values()))
            case _, ["bets", "by-nonce", nonce]:
                return 200, next(b for b in self.bets.values() if b["nonce"] == nonce)
            case _, ["bets", bet_id]:
                return 200, self.bets[bet_id]
            case _, ["settlements", column]:
                return 200, _settlement(int(column))
            case "POST", ["session-keys"]:
                return 201, asked | {"key_id": "k1", "used_micros": 0, "revoked_at": None}
            case "DELETE", ["session-keys", key_id]:
                self.revoked.append(key_id)
                return 204, None
            case _, [kind]:
                return self._transfer(method, kind, asked)
        return 404, {"error": "not_found", "message": path}

    def _transfer(self, method: str, kind: str, asked: dict[str, Any]) -> tuple[int, Any]:
        rows: list[dict[str, Any]] = getattr(self, kind)
        if method == "GET":
            return 200, _page(rows)
        word = kind.removesuffix("s")
        row = {f"{word}_id": "1", "status": "completed", "created_at": NOW} | asked
        rows.append(row)
        sign, name = (1, "DEPOSIT") if word == "deposit" else (-1, "HOLD")
        self.move(name, f"{word}:1", sign * asked["amount_micros"])
        return 202, row

    # The WebSocket.

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        async with serve(self._socket, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            ready.set()
            await stop.wait()

    async def _socket(self, socket: ServerConnection) -> None:
        me = (socket, iter(range(1, 1_000_000)))
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                self._hear(me, text)

    def _hear(self, me: tuple[ServerConnection, Iterator[int]], text: str | bytes) -> None:
        asked = json.loads(text)
        with self._lock:
            if asked["op"] == "subscribe":
                self._sockets.append(me)
                missed = list(self.bets.values())
                open_ = {"open": [], "missed": missed, "cursor": self._cursor}
                self.tell("snapshot", {"balance_micros": self.balance_micros, **open_})
                self.tell("grid.update", _grid())
                self.tell("price.tick", {"price_cents": 1_700})
            elif asked["op"] == "bet":
                status, body = self.place(asked)
                kind = "bet.accepted" if status == 202 else "bet.rejected"
                self.tell(kind, body | {"id": asked["id"]}, even_when_deaf=True)

    def tell(self, kind: str, data: dict[str, Any], *, even_when_deaf: bool = False) -> None:
        if self.loses_events and kind.startswith("bet.") and not even_when_deaf:
            return
        for socket, numbers in self._sockets:
            text = json.dumps({"seq": next(numbers), "type": kind, "data": data})
            asyncio.run_coroutine_threadsafe(socket.send(text), self.loop)
        if kind.startswith("bet.") and self.hangs_up_after:
            self.hangs_up_after -= 1
            if not self.hangs_up_after:
                for socket, _ in self._sockets:
                    asyncio.run_coroutine_threadsafe(socket.close(1012), self.loop)
                self._sockets.clear()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    def _later(self, seconds: float, do: Callable[[dict[str, Any]], None], bet: Any) -> None:
        def locked() -> None:
            with self._lock:
                do(bet)

        self.loop.call_soon_threadsafe(self.loop.call_later, seconds, locked)

    @contextmanager
    def running(self) -> Iterator["Platform"]:
        ready, stop = threading.Event(), asyncio.Event()

        def run() -> None:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._serve(ready, stop))

        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
        try:
            yield self
        finally:
            self.loop.call_soon_threadsafe(stop.set)
            thread.join()


def _page(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"results": rows[::-1], "next": None}


def _grid() -> dict[str, Any]:
    return {
        "quoted_at": NOW,
        "price_cents": 1_700,
        "column_starts": COLUMNS,
        "lows_cents": LOWS,
        "rates_bps": [[15_000, 15_000, 20_000, None]] * 4,
        "room_micros": [[10**9] * 4] * 4,
    }


def _settlement(column_start: int) -> dict[str, Any]:
    return {
        "column_start": column_start,
        "state": "settled",
        "open_cents": 1_700,
        "low_cents": 1_500,
        "high_cents": 1_999,
        "close_cents": 1_700,
        "ticks": 51,
        "max_gap_ms": 100,
        "sources": "simulated",
        "ticks_sha256": "00",
        "reason": None,
    }


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform().running() as running:
        yield running


def _visit(platform: Platform, **changes: Any) -> tuple[Result, str]:
    console = Console(file=io.StringIO(), width=200)
    asked: dict[str, Any] = {
        "rounds": 6,
        "deposit_micros": 100_000_000,
        "stake_micros": 5_000_000,
        "seed": "1",
        "pace_s": 0.01,
        "patience_s": 10.0,
        "quiet_s": 0.2,
    }
    options = Options(**(asked | changes))
    with Client(platform.url, transport=httpx.MockTransport(platform)) as client:
        result = Trader(client, options, PlainScreen(console)).visit()
    return result, console.file.getvalue()  # type: ignore[attr-defined]


def test_visit_when_all_goes_well_plays_every_round_and_proves_the_ledger(
    platform: Platform,
) -> None:
    result, output = _visit(platform)

    assert result.holds, [str(check) for check in result.checks]
    assert len(result.journal.rounds()) == 6
    assert {tap.state for tap in result.journal.taps} == {"won", "lost"}
    assert {tap.via for tap in result.journal.taps} == {"http", "ws"}
    assert {tap.by for tap in result.journal.taps} == {"wallet", "key"}
    assert platform.revoked == ["k1"]
    assert platform.balance_micros == 0
    assert "the withdrawal is completed" in output
    assert any(line.startswith("confirmed 6, rejected 0") for line in summary(result.journal))
    assert any(line.startswith("tap to confirmed: p50") for line in summary(result.journal))


async def test_place_when_the_reply_arrives_then_its_time_is_known_before_the_game_goes_on() -> (
    None
):
    """The stamp is made where the reply arrives, so that an event handled next finds it."""

    class Places:
        def place(self, request: Any) -> Any:
            return "the bet"

    tap = Tap(1, "0_1_2", 1, 1, "key", "http", tapped_us=0)
    game = Game(
        Places(),
        None,
        wallet=None,
        session_key=None,
        options=Options(rounds=1, deposit_micros=1, stake_micros=1, seed="1"),
        screen=None,
        now_us=threading.get_ident,
    )

    await game._place(tap, None)

    assert tap.accepted_us not in (None, threading.get_ident())


def test_visit_when_cells_are_refused_or_rejected_picks_others(platform: Platform) -> None:
    platform.refusals = ["rate_moved", "limit_reached", "cell_taken", "price_stale"]
    platform.rejections = ["rate_moved", "price_stale"]

    result, _ = _visit(platform, rounds=4)

    assert result.holds, [str(check) for check in result.checks]
    states = [tap.state for tap in result.journal.taps]
    assert len(result.journal.rounds()) == 4
    assert states.count("rejected") == 2
    assert {"rate_moved", "limit_reached", "cell_taken", "price_stale"} <= set(states)


def test_visit_when_a_refusal_is_about_the_trader_stops_and_says_so(platform: Platform) -> None:
    platform.refusals = ["wallet_frozen"]

    with pytest.raises(PlayError, match="wallet_frozen"):
        _visit(platform)

    assert platform.revoked == ["k1"]


def test_visit_when_events_are_lost_asks_after_its_bets(platform: Platform) -> None:
    platform.loses_events = True

    result, _ = _visit(platform, rounds=2)

    assert result.holds
    assert len(result.journal.rounds()) == 2


def test_visit_when_the_platform_goes_away_for_a_while_goes_on_afterwards(
    platform: Platform,
) -> None:
    platform.lost_replies = 2
    platform.hangs_up_after = 3

    result, _ = _visit(platform, rounds=4)

    assert result.holds, [str(check) for check in result.checks]
    assert platform.lost_replies == 0
    assert len(result.journal.rounds()) == 4


def test_visit_when_the_platform_pays_a_micro_too_little_does_not_hold(
    platform: Platform,
) -> None:
    platform.pays = lambda micros: micros - 1

    result, _ = _visit(platform)

    assert not result.holds


def test_visit_when_the_grid_stays_empty_gives_up_in_time(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "_grid", lambda: _EMPTY)

    with pytest.raises(PlayError, match="waiting for the grid"):
        _visit(platform, patience_s=0.2)


_EMPTY = _grid() | {"column_starts": [], "rates_bps": [], "room_micros": []}


def test_visit_when_the_stake_is_no_preset_names_the_presets(platform: Platform) -> None:
    with pytest.raises(PlayError, match=r"5\.00"):
        _visit(platform, stake_micros=4_000_000)


@pytest.mark.parametrize(
    "options",
    [{"deposit": "1"}, {"deposit": "1e3"}, {"rounds": 0}],
)
def test_play_command_when_asked_for_nonsense_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        call_command("play", url="http://127.0.0.1:1", **options)


def test_play_command_when_nobody_is_there_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taptrading.client.transport.Patience.pause_s", lambda *_: 0.0)

    with pytest.raises(CommandError, match="cannot be reached") as caught:
        call_command("play", url="http://127.0.0.1:1")

    assert caught.value.returncode == 2
