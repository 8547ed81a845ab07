"""What the client does when the platform is busy, away, or answers into the void."""

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from taptrading.client import (
    ApiError,
    BadReply,
    Client,
    LocalKey,
    NotPlaced,
    OutcomeUnknown,
    SignedBet,
    Unreachable,
)
from taptrading.client.custody import CustodyEvent, report_event
from taptrading.client.transport import ServerClock

KEY = LocalKey.from_seed("client")
NOW = "2026-01-02T03:04:05.000Z"
NOW_S = int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp())
CONFIG = {
    "domain": "tap.example",
    "chain_id": 8453,
    "version": 1,
    "presets_micros": [1_000_000],
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
STATUS = {"breaker": "closed", "override": "auto", "reason": "", "price_age_ms": 20}
BET: dict[str, Any] = {
    "bet_id": "7",
    "status": "accepted",
    "cell_id": "1764000010_9500000_9501000",
    "stake_micros": 1_000_000,
    "min_rate_bps": 12_000,
    "rate_bps": None,
    "potential_payout_micros": None,
    "payout_micros": None,
    "nonce": "n",
    "accepted_at": NOW,
    "confirmed_at": None,
    "resolved_at": None,
    "reason": "",
}
MISSING = {"error": "not_found", "message": "There is nothing here.", "detail": {}}

Answer = httpx.Response | Exception


class Platform:
    """A platform in this process: answers each path from its own list, the last one for ever."""

    def __init__(self, **answers: Answer | list[Answer]) -> None:
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []
        self.now = NOW
        self.answers = {name: a if isinstance(a, list) else [a] for name, a in answers.items()}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.removeprefix("/api/v1/").replace("/", "_").replace("-", "_")
        if name == "config":
            return httpx.Response(200, json=CONFIG)
        if name == "status":
            return httpx.Response(200, json=STATUS | {"server_time": self.now})
        self.asked.append(request)
        answers = self.answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, token: str = "token") -> Client:
        client = Client(
            "http://tap.example",
            transport=httpx.MockTransport(self),
            sleep=self.slept.append,
        )
        client.transport.token = token
        return client


def _bet(client: Client) -> SignedBet:
    return client.sign_bet(
        KEY, cell_id=str(BET["cell_id"]), stake_micros=1_000_000, min_rate_bps=12_000
    )


def _refused(status: int, code: str, retry_after: str = "", **detail: Any) -> httpx.Response:
    headers = {"X-Request-ID": "r-1"} | ({"Retry-After": retry_after} if retry_after else {})
    body = {"error": code, "message": "No.", "detail": detail, "request_id": "r-1"}
    return httpx.Response(status, json=body, headers=headers)


def _accepted() -> httpx.Response:
    return httpx.Response(202, json=BET | {"balance_micros": 9_000_000})


def test_place_when_limited_and_down_sends_the_same_bytes_again_after_retry_after() -> None:
    platform = Platform(
        bets=[
            _refused(429, "rate_limited", "2"),
            _refused(503, "dependency_unavailable", "1"),
            _accepted(),
        ]
    )
    client = platform.client()

    bet = client.place(_bet(client))

    assert bet.balance_micros == 9_000_000
    assert len({request.content for request in platform.asked}) == 1
    assert len(platform.asked) == 3
    first_s, second_s = platform.slept
    assert 2 <= first_s <= 2.25
    assert 1 <= second_s <= 1.25


def test_place_when_always_busy_gives_up_with_the_refusal() -> None:
    platform = Platform(bets=_refused(503, "overloaded", "4"))
    client = platform.client()

    with pytest.raises(ApiError, match="overloaded") as caught:
        client.place(_bet(client))

    assert caught.value.status == 503
    assert caught.value.request_id == "r-1"
    assert caught.value.retry_after_s == 4
    assert sum(platform.slept) <= client.transport.patience.total_s


def test_place_when_refused_for_good_asks_once_and_passes_the_detail_on() -> None:
    platform = Platform(bets=_refused(422, "rate_moved", rate_bps=11_000))
    client = platform.client()

    with pytest.raises(ApiError) as caught:
        client.place(_bet(client))

    assert (caught.value.code, caught.value.detail) == ("rate_moved", {"rate_bps": 11_000})
    assert len(platform.asked) == 1


@pytest.mark.parametrize(
    "lost",
    [
        httpx.ReadTimeout("too late"),
        httpx.RemoteProtocolError("gone"),
        _refused(504, "outcome_unknown"),
        httpx.Response(502, text="<html>bad gateway</html>"),
    ],
)
def test_place_when_reply_is_lost_asks_by_nonce_until_it_is_known(lost: Answer) -> None:
    platform = Platform(bets=lost)
    client = platform.client()
    request = _bet(client)
    platform.answers[f"bets_by_nonce_{request.nonce.replace('-', '_')}"] = [
        httpx.Response(404, json=MISSING),
        _refused(503, "dependency_unavailable", "1"),
        httpx.Response(200, json=BET),
    ]

    bet = client.place(request)

    assert bet.bet_id == "7"
    assert [r.method for r in platform.asked].count("POST") == 1


def test_place_when_reply_is_lost_and_nothing_was_stored_is_not_placed_after_40_s() -> None:
    platform = Platform(bets=httpx.ReadTimeout("too late"))
    client = platform.client()
    request = _bet(client)
    platform.answers[f"bets_by_nonce_{request.nonce.replace('-', '_')}"] = [
        httpx.Response(404, json=MISSING)
    ]
    local_us = [0]
    client.clock = ServerClock(lambda: local_us[0])
    client.clock.observe(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    def sleep(seconds: float) -> None:
        platform.slept.append(seconds)
        local_us[0] += int(seconds * 1_000_000)
        platform.now = f"2026-01-02T03:04:{5 + local_us[0] // 1_000_000:02d}.000Z"

    client.transport.sleep = sleep

    with pytest.raises(NotPlaced):
        client.place(request)

    assert 40 <= sum(platform.slept) <= 42


def test_place_when_reply_is_lost_and_nobody_is_signed_in_is_unknown() -> None:
    platform = Platform(bets=httpx.ReadTimeout("too late"))
    client = platform.client(token="")

    with pytest.raises(OutcomeUnknown):
        client.place(_bet(client))


def test_place_when_the_nonce_has_this_bet_already_returns_it() -> None:
    platform = Platform(bets=_refused(409, "nonce_reused", bet=BET, same_request=True))
    client = platform.client()

    assert client.place(_bet(client)).bet_id == "7"


def test_place_when_the_nonce_has_another_bet_is_refused() -> None:
    platform = Platform(bets=_refused(409, "nonce_reused", bet=BET, same_request=False))
    client = platform.client()

    with pytest.raises(ApiError, match="nonce_reused"):
        client.place(_bet(client))


def test_place_batch_when_one_is_refused_gives_both_results_in_order() -> None:
    results = [
        {"status": 202, "bet": BET},
        {"status": 409, "error": "cell_taken", "message": "Taken.", "detail": {}},
    ]
    platform = Platform(bets_batch=httpx.Response(200, json={"results": results}))
    client = platform.client()

    first, second = client.place_batch([_bet(client), _bet(client)])

    assert first.bet is not None
    assert first.bet.bet_id == "7"
    assert (second.status, second.error) == (409, "cell_taken")


def test_deposit_when_down_is_not_sent_twice() -> None:
    platform = Platform(deposits=_refused(503, "dependency_unavailable", "1"))

    with pytest.raises(ApiError, match="dependency_unavailable"):
        platform.client().deposit(1)

    assert len(platform.asked) == 1


def test_withdraw_when_reply_is_lost_finds_the_withdrawal_that_its_nonce_made() -> None:
    row = {
        "withdrawal_id": "3",
        "status": "held",
        "amount_micros": 5,
        "to_address": KEY.address,
        "created_at": NOW,
    }
    platform = Platform(
        withdrawals=[
            httpx.ReadTimeout("too late"),
            _refused(409, "nonce_reused", withdrawal=row, same_request=True),
        ]
    )

    withdrawal = platform.client().withdraw(KEY, 5)

    assert withdrawal.withdrawal_id == "3"
    first, second = platform.asked
    assert first.content == second.content


def test_withdraw_when_the_nonce_has_another_withdrawal_is_refused() -> None:
    platform = Platform(
        withdrawals=_refused(409, "nonce_reused", withdrawal={}, same_request=False)
    )

    with pytest.raises(ApiError, match="nonce_reused"):
        platform.client().withdraw(KEY, 5)


def test_authorize_key_when_reply_is_lost_finds_the_key_that_its_nonce_made() -> None:
    row = {
        "key_id": "4",
        "wallet": KEY.address,
        "key": "0x" + "ab" * 20,
        "label": "phone",
        "expires_at": NOW_S + 60,
        "max_stake_micros": 5,
        "max_total_micros": 50,
        "used_micros": 0,
        "revoked_at": None,
    }
    platform = Platform(
        session_keys=[
            httpx.ReadTimeout("too late"),
            _refused(409, "nonce_reused", session_key=row, same_request=True),
        ]
    )

    key = platform.client().authorize_key(
        KEY,
        str(row["key"]),
        label="phone",
        lasts_s=60,
        max_stake_micros=5,
        max_total_micros=50,
    )

    assert (key.key_id, key.label) == ("4", "phone")


def test_get_when_connection_is_lost_is_asked_again() -> None:
    price = {"price_cents": 9_500_001, "at": NOW, "seq": 4, "age_ms": 30}
    platform = Platform(price=[httpx.ReadError("gone"), httpx.Response(200, json=price)])

    assert platform.client().price().price_cents == 9_500_001


def test_get_when_the_answer_is_of_another_form_is_a_bad_reply() -> None:
    platform = Platform(price=httpx.Response(200, json={"price_cents": 1.5}))

    with pytest.raises(BadReply):
        platform.client().price()


def test_pages_when_there_are_more_follows_next_to_the_end() -> None:
    def entry(number: int) -> dict[str, Any]:
        return {
            "entry_id": str(number),
            "kind": "DEPOSIT",
            "reference": "deposit:1",
            "amount_micros": 1,
            "balance_after_micros": number,
            "created_at": NOW,
        }

    platform = Platform(
        ledger=[
            httpx.Response(
                200, json={"results": [entry(3), entry(2)], "next": "/api/v1/ledger?before=2"}
            ),
            httpx.Response(200, json={"results": [entry(1)], "next": None}),
        ]
    )

    entries = list(platform.client().ledger(kind="DEPOSIT", limit=2))

    assert [entry.entry_id for entry in entries] == ["3", "2", "1"]
    assert [request.url.query for request in platform.asked] == [
        b"limit=2&kind=DEPOSIT",
        b"before=2",
    ]


def test_prices_when_there_are_more_follows_next_to_the_end() -> None:
    def page(at: str, next_url: str | None) -> httpx.Response:
        bar = {"at": at, "open_cents": 5, "low_cents": 3, "high_cents": 9, "close_cents": 7}
        return httpx.Response(200, json={"results": [bar], "next": next_url})

    later, sooner = "2026-01-02T03:04:05.000Z", "2026-01-02T03:04:00.000Z"
    platform = Platform(
        prices=[page(later, f"/api/v1/prices?limit=1&to={later}"), page(sooner, None)]
    )
    start = datetime(2026, 1, 2, tzinfo=UTC)

    bars = list(platform.client().prices(step_s=5, start=start, limit=1))

    assert [bar.at.second for bar in bars] == [5, 0]
    assert [dict(request.url.params) for request in platform.asked] == [
        {"limit": "1", "from": "2026-01-02T00:00:00.000Z", "step_s": "5"},
        {"limit": "1", "to": later},
    ]


@pytest.mark.parametrize(
    "next_url",
    ["http://elsewhere.example/api/v1/ledger", "//elsewhere.example/api/v1/ledger", "?before=2"],
)
def test_pages_when_next_is_no_path_of_this_platform_keeps_the_token_at_home(
    next_url: str,
) -> None:
    page = {"results": [], "next": next_url}
    platform = Platform(ledger=httpx.Response(200, json=page))

    with pytest.raises(BadReply, match="elsewhere"):
        list(platform.client().ledger())

    assert len(platform.asked) == 1


def test_ledger_csv_when_there_are_more_pages_follows_the_link() -> None:
    link = {"Link": '</api/v1/ledger?limit=1&before=2>; rel="next"'}
    platform = Platform(
        ledger=[
            httpx.Response(200, text="entry_id\n2\n", headers=link),
            httpx.Response(200, text="entry_id\n1\n"),
        ]
    )

    pages = list(platform.client().ledger_csv(limit=1))

    assert pages == ["entry_id\n2\n", "entry_id\n1\n"]
    assert [request.url.query for request in platform.asked] == [b"limit=1", b"limit=1&before=2"]
    assert platform.asked[1].headers["Accept"] == "text/csv"


def test_sign_in_when_accepted_carries_the_token_from_then_on() -> None:
    session = {"token": "secret", "expires_at": NOW, "wallet": KEY.address}
    wallet = {
        "address": KEY.address,
        "balance_micros": 0,
        "held_micros": 0,
        "open_stake_micros": 0,
        "frozen": False,
    }
    platform = Platform(
        auth_nonce=httpx.Response(200, json={"nonce": "abc", "expires_at": NOW}),
        auth_login=httpx.Response(200, json=session),
        wallet=httpx.Response(200, json=wallet),
    )
    client = platform.client(token="")

    assert client.sign_in(KEY).wallet == KEY.address
    client.wallet()

    assert b"Issued At: 2026-01-02T03:04:05" in platform.asked[1].content
    assert b"URI: http://tap.example" in platform.asked[1].content
    assert platform.asked[2].headers["Authorization"] == "Bearer secret"


def test_report_event_when_sent_is_signed_over_timestamp_and_body() -> None:
    platform = Platform(custody_events=httpx.Response(200, json={}))
    event = CustodyEvent(
        event_id="e1", type="deposit.confirmed", reference="1", address="0x", amount_micros=5
    )

    report_event(platform.client(), "secret", event)

    headers = platform.asked[0].headers
    assert headers["X-Custody-Timestamp"] == str(NOW_S)
    assert len(headers["X-Custody-Signature"]) == 64


def test_clock_when_local_time_passes_carries_the_platforms_time_on() -> None:
    local_us = [5_000_000]
    clock = ServerClock(lambda: local_us[0])
    clock.observe(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    local_us[0] += 1_500_000

    assert clock.now_us() == NOW_S * 1_000_000 + 1_500_000
    assert clock.age_us() == 1_500_000


def _serve(handle: Callable[[socket.socket, int], None]) -> tuple[str, socket.socket]:
    """A TCP server that hands each connection, numbered, to `handle`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                handle(connection, number)
            number += 1

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", listener


def test_get_when_a_real_server_hangs_up_comes_through_on_the_next_connection() -> None:
    def handle(connection: socket.socket, number: int) -> None:
        connection.recv(65_536)
        if number > 0:
            body = b'{"results": [], "next": null}'
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)

    url, listener = _serve(handle)
    with listener, Client(url, sleep=lambda _: None) as client:
        assert list(client.deposits()) == []


def test_deposit_when_a_real_server_hangs_up_is_unknown() -> None:
    url, listener = _serve(lambda connection, _: (connection.recv(65_536), None)[1])
    with listener, Client(url, sleep=lambda _: None) as client, pytest.raises(OutcomeUnknown):
        client.deposit(1)


def test_get_when_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", sleep=lambda _: None) as client,
        pytest.raises(Unreachable, match="cannot be reached"),
    ):
        client.config()
