"""A trader's whole round over real HTTP and WebSocket against real processes."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests import stack
from tests.outsider import PASSING, USDC, Line, Outsider

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    folder = tmp_path_factory.mktemp("platform")
    with stack.running(folder, TAP_BET_RATE_PER_S="10000", TAP_BET_BURST="10000") as running:
        running.clock_rate(2)
        yield running


@pytest.fixture
def trader(platform: stack.Stack) -> Outsider:
    made = Outsider(platform.url)
    made.sign_in()
    made.deposit(100)
    return made


def test_trader_signs_in_bets_wins_or_loses_and_withdraws(trader: Outsider) -> None:
    assert trader.balance() == 100 * USDC
    line = trader.socket()
    line.send(op="subscribe", channels=["price", "grid", "bets"])
    snapshot = line.until(lambda frame: frame["type"] == "snapshot")["data"]
    assert (snapshot["balance_micros"], snapshot["open"]) == (100 * USDC, [])
    line.until(lambda frame: frame["type"] == "price.tick")
    line.until(lambda frame: frame["type"] == "grid.update")

    balance, statuses = 100 * USDC, set[str]()
    while not statuses & {"won", "lost"}:  # on a busy machine a column's recording may have a gap
        bets = _play(trader, line)
        balance += sum(bet["payout_micros"] - bet["stake_micros"] for bet in bets)
        assert trader.balance() == balance
        statuses |= {bet["status"] for bet in bets}

    withdrawal = trader.withdraw(balance)
    assert withdrawal["status"] == "held"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        (row,) = trader.http.get("withdrawals").json()["results"]
        if row["status"] == "completed":
            break
        time.sleep(0.05)
    assert row["status"] == "completed"
    running = 0
    for entry in trader.ledger():
        running += entry["amount_micros"]
        assert entry["balance_after_micros"] == running
    assert running == trader.balance() == 0
    line.close()


def _play(trader: Outsider, line: Line) -> list[dict[str, Any]]:
    """Four bets, the last of them over the socket, from their placing to their outcome."""

    def soon(number: int) -> dict[str, Any]:
        cells = trader.cells()
        first_column = min(int(cell["cell_id"].split("_")[0]) for cell in cells)
        return [c for c in cells if int(c["cell_id"].split("_")[0]) == first_column + 5][number]

    placing = [
        *(lambda number=number: trader.taken(lambda: soon(number)) for number in (0, 0, 2)),
        lambda: line.taken(lambda: trader.bet(soon(0), min_rate_bps=10_100)),
    ]
    bets = []
    for place in placing:
        confirmed = line.confirmed(place)  # type: ignore[arg-type]
        assert confirmed["rate_bps"] >= confirmed["min_rate_bps"]
        expected = confirmed["stake_micros"] * confirmed["rate_bps"] // 10_000
        assert confirmed["potential_payout_micros"] == expected
        bets.append(confirmed)

    resolved = [line.about(bet["bet_id"], "bet.resolved") for bet in bets]
    for bet in resolved:
        assert (bet["status"], bet["payout_micros"]) == trader.due(bet)
        stored = trader.http.get(f"bets/{bet['bet_id']}").json()
        assert stored["payout_micros"] == bet["payout_micros"]
    return resolved


def test_lost_connection_is_made_whole_by_the_snapshot(trader: Outsider) -> None:
    line = trader.socket()
    line.send(op="subscribe", channels=["bets"])
    cursor = line.until(lambda frame: frame["type"] == "snapshot")["data"]["cursor"]
    line.close()
    bet_id = trader.taken(trader.lasting_cell)["bet_id"]
    again = trader.socket()
    again.send(op="subscribe", channels=["bets"], since=cursor)
    snapshot = again.until(lambda frame: frame["type"] == "snapshot")["data"]
    assert bet_id in {bet["bet_id"] for bet in snapshot["open"] + snapshot["missed"]}
    assert snapshot["cursor"] > cursor
    assert snapshot["balance_micros"] == 95 * USDC
    again.close()


def test_replayed_and_misdated_bets_are_refused(trader: Outsider) -> None:
    body, first = trader.judged(lambda: trader.bet(trader.lasting_cell(), min_rate_bps=10_100))
    again = trader.place(body)
    cells = trader.cells()
    assert first.status_code == 202
    assert (again.status_code, again.json()["error"]) == (409, "nonce_reused")
    assert again.json()["detail"]["bet"]["bet_id"] == first.json()["bet_id"]
    assert again.json()["detail"]["same_request"] is True
    now_s = trader.now_s()
    for changes, code in (
        ({"timestamp": now_s - 40}, "timestamp_expired"),
        ({"timestamp": now_s + 40}, "timestamp_in_future"),
        ({"chain_id": 1}, "wrong_chain"),
    ):
        reply = trader.place(trader.bet(cells[1], **changes))
        assert (reply.status_code, reply.json()["error"]) == (401, code)
    found = trader.http.get(f"bets/by-nonce/{body['nonce']}").json()
    assert found["bet_id"] == first.json()["bet_id"]
    assert len(trader.http.get("bets").json()["results"]) == 1


def test_hundred_bets_at_once_never_exceed_the_balance(trader: Outsider) -> None:
    cells = [cell for cell in trader.cells() if int(cell["rate_bps"]) > 10_200][:100]
    assert len(cells) == 100
    bodies = [trader.bet(cell, min_rate_bps=10_100, stake_micros=5 * USDC) for cell in cells]
    with ThreadPoolExecutor(25) as pool:
        replies = list(pool.map(trader.place, bodies))
    codes = [reply.json().get("error", "accepted") for reply in replies]
    assert set(codes) <= {"accepted", "insufficient_funds", "rate_moved", *PASSING}
    assert "insufficient_funds" in codes
    accepted = codes.count("accepted")
    staked = -sum(e["amount_micros"] for e in trader.ledger() if e["kind"] == "STAKE")
    assert staked == accepted * 5 * USDC
    running = 0
    for entry in trader.ledger():
        running += entry["amount_micros"]
        assert entry["balance_after_micros"] == running >= 0
    refused = next(r for r in replies if r.json().get("error") == "insufficient_funds")
    nonce = bodies[replies.index(refused)]["nonce"]
    assert trader.http.get(f"bets/by-nonce/{nonce}").status_code == 404


def test_bets_stop_when_the_price_grows_old_and_come_back_after_thirty_stable_seconds(
    platform: stack.Stack, trader: Outsider
) -> None:
    feed = platform.pid_of("run_pricefeed")
    platform.clock_rate(4)
    try:
        cell = trader.lasting_cell()
        os.kill(feed, signal.SIGSTOP)
        assert _refused(trader, cell, "price_stale").headers["Retry-After"]
        opened = _refused(trader, cell, "breaker_open")
        assert opened.status_code == 503
        while trader.http.get("status").json()["price_age_ms"] < 11_000:
            time.sleep(0.02)
        assert trader.http.get("status").json()["breaker"] == "open"
    finally:
        os.kill(feed, signal.SIGCONT)
    started_s = trader.now_s()
    placed = False
    while not placed:
        cells = trader.http.get("grid").json()["cells"]
        placed = bool(cells) and trader.place(trader.bet(cells[-1])).status_code == 202
        assert trader.now_s() - started_s < 90
        time.sleep(0.02)
    assert trader.now_s() - started_s >= 28
    platform.clock_rate(2)


def _refused(trader: Outsider, cell: dict[str, object], code: str) -> httpx.Response:
    """Bet again and again until it is refused with this code."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        reply = trader.place(trader.bet(cell))
        if reply.status_code != 202 and reply.json()["error"] == code:
            return reply
        time.sleep(0.02)
    raise AssertionError(f"never refused with {code}: {reply.text}")


def test_metrics_add_up_what_all_processes_count(platform: stack.Stack, trader: Outsider) -> None:
    before = _metrics(platform)
    trader.taken(trader.lasting_cell)
    batches = "writer_batch_size_count"  # counted in the writer, asked of the web process
    after = _metrics(platform)
    deadline = time.monotonic() + 10  # the writer tells its figures once a second
    while after[batches] == before.get(batches, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
        after = _metrics(platform)
    assert after[batches] > before.get(batches, 0)
    assert after["pricefeed_ticks_total"] > 0
    assert 0 <= after["price_feed_staleness_seconds"] < 5
    assert after["circuit_breaker_state"] == 0


def _metrics(platform: stack.Stack) -> dict[str, float]:
    lines = httpx.get(platform.url + "/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}
