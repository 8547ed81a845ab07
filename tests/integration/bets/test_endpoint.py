"""POST bets, batch and check: the ASGI application with the real writer behind it.

Signatures come from eth-account, which shares no code with ours.
"""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from bets import endpoint
from bets.entry import Entry
from bets.exposure import ExposureState
from bets.models import Bet
from bets.quotes import Quotes
from pricefeed.board import Board, FeedState
from taptrading import clock, direct, native
from taptrading.direct import HANDLERS
from taptrading.errors import CODES, DependencyError, OutcomeUnknown
from taptrading.limiter import TokenBuckets
from tests import factories
from tests.compiled import fast
from tests.factories import PRICE_CENTS, USDC
from tests.fakes import DatabaseThread, FakeNonces, InProcessLink, ManualClock
from tests.httppeer import HttpPeer
from wallet import link
from wallet.directory import Directory
from wallet.facts import read_facts
from wallet.keys import AuthorizeKey, RevokeKey
from wallet.models import LedgerEntry, Wallet
from wallet.player_limits import SetPlayerLimits
from wallet.transfers import CustodyReport, OpenWallet, SetFrozen

DOMAIN, CHAIN_ID = "127.0.0.1:8000", 8453
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

Reply = tuple[int, dict[str, Any], dict[str, str]]
Post = Callable[..., Reply]


class LoopLink:
    """The event loop's link, with the in-process writer at its other end."""

    connected = True
    failure: Exception | None = None

    def __init__(self, writer: InProcessLink, database: DatabaseThread) -> None:
        self._writer = writer
        self._database = database

    async def call(self, command: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        return await self._database.ask(self._writer.call, command)

    def post(self, command: Any, answered: Callable[[Any], None]) -> None:
        async def ask() -> None:
            try:
                answer = await self.call(command)
            except DependencyError as error:
                answer = error
            answered(answer)

        self._asking = asyncio.get_running_loop().create_task(ask())


class Trader:
    """A key, and the bets that it signs."""

    def __init__(self) -> None:
        self.account = Account.create()
        self.address = self.account.address.lower()

    def bet(
        self, *, signer: Any = None, sign: dict[str, Any] | None = None, **sent: Any
    ) -> dict[str, Any]:
        """The body of a good bet; `sign` changes what is signed, `sent` what is sent and signed."""
        column = clock.now_s() // 5 * 5 + 15
        low = PRICE_CENTS // 1_000 * 1_000
        body: dict[str, Any] = {
            "wallet": self.address,
            "cell_id": f"{column}_{low}_{low + 1_000}",
            "stake_micros": 5 * USDC,
            "min_rate_bps": 10_000,
            "nonce": str(uuid.uuid4()),
            "timestamp": clock.now_s(),
            "chain_id": CHAIN_ID,
        } | sent
        signed = body | (sign or {})
        text = (
            f"Tap Trading Bet\nAction: place_bet\nDomain: {signed.get('domain', DOMAIN)}\n"
            f"Wallet: {signed['wallet'].lower()}\nCell: {signed['cell_id']}\n"
            f"Stake: {signed['stake_micros']}\nMinRate: {signed['min_rate_bps']}\n"
            f"Nonce: {signed['nonce']}\nTimestamp: {signed['timestamp']}\n"
            f"Chain: {signed['chain_id']}\nVersion: 1"
        )
        key = (signer or self.account).key
        made = Account.sign_message(encode_defunct(text=text), key)
        return {**body, "signature": "0x" + made.signature.hex().removeprefix("0x")}


@pytest.fixture
def trader(writer: InProcessLink, feed_board: Board, quotes: Quotes) -> Trader:
    made = Trader()
    writer.call(OpenWallet(made.address))
    writer.call(CustodyReport("e", "deposit.confirmed", "", made.address, 1_000 * USDC))
    return made


@pytest.fixture
def quotes(writer: InProcessLink, feed_board: Board) -> Quotes:
    factories.funded_house(writer)
    quotes = Quotes(feed_board.refusal)
    feed_board.listeners.append(lambda state: quotes.refresh(state.tick) and None)
    quotes.apply_exposure(ExposureState(10_000_000 * USDC, []))
    factories.tick(feed_board)
    return quotes


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def database() -> DatabaseThread:
    return DatabaseThread()


@pytest.fixture
def loop_link(writer: InProcessLink, database: DatabaseThread) -> LoopLink:
    return LoopLink(writer, database)


@pytest.fixture(params=["asgi", "direct", "compiled"])
def post(
    request: pytest.FixtureRequest,
    trader: Trader,
    quotes: Quotes,
    feed_board: Board,
    directory: Directory,
    loop_link: LoopLink,
    database: DatabaseThread,
    monkeypatch: pytest.MonkeyPatch,
) -> Post:
    """POST a body (a dict, or bytes as they are) and read the reply. Through ASGI, and past it
    where there is such a way, with the compiled code or without: nobody may be able to tell."""
    compiled = fast() if request.param == "compiled" else None
    monkeypatch.setattr(native, "fast", compiled)
    monkeypatch.setattr(direct, "_read_whole", compiled and compiled.read_request)
    entry = Entry(feed_board, quotes, directory, DOMAIN, CHAIN_ID)
    monkeypatch.setattr("wallet.facts.in_thread", database.ask)
    monkeypatch.setattr(endpoint, "entry", entry)
    monkeypatch.setattr(endpoint, "addresses", TokenBuckets(burst=100, period_us=1_000))
    monkeypatch.setattr(link, "_link", loop_link)
    monkeypatch.setitem(HANDLERS, b"/api/v1/bets", endpoint.place_directly)

    def send_request(body: Any, path: str = "/api/v1/bets") -> Reply:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if request.param != "asgi" and path == "/api/v1/bets":
            return database.run(post_directly(raw))
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": path, "headers": [], "client": ("127.0.0.1", 1)}
        database.run(endpoint.app(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], json.loads(sent[1]["body"]), headers

    return send_request


async def post_directly(body: bytes) -> Reply:
    client = HttpPeer()
    client.send(b"POST /api/v1/bets HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    status, headers, answer = await client.reply()
    return status, json.loads(answer), headers


def nothing_stored() -> bool:
    return not Bet.objects.exists() and not LedgerEntry.objects.filter(kind="STAKE").exists()


def refused(post: Post, body: Any, code: str) -> dict[str, Any]:
    status, answer, headers = post(body)
    assert answer["error"] == code, answer
    assert status == CODES[code].status
    assert answer["message"]
    assert answer["request_id"] == headers["x-request-id"]
    assert {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"} <= headers.keys()
    assert ("retry-after" in headers) == (status in (429, 503))
    assert nothing_stored()
    detail: dict[str, Any] = answer["detail"]
    return detail


def test_good_bet_is_accepted(post: Post, trader: Trader) -> None:
    body = trader.bet()
    status, bet, headers = post(body)
    assert status == 202
    assert bet["status"] == "accepted"
    assert (bet["cell_id"], bet["nonce"]) == (body["cell_id"], body["nonce"])
    assert bet["balance_micros"] == 995 * USDC
    assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("20", "19")
    stored = Bet.objects.get(pk=bet["bet_id"])
    assert "0x" + bytes(stored.signature).hex() == body["signature"]


def test_address_and_signature_may_come_in_any_case(post: Post, trader: Trader) -> None:
    body = trader.bet()
    body["wallet"] = trader.account.address  # EIP-55
    body["signature"] = "0x" + body["signature"][2:].upper()
    assert post(body)[0] == 202


@pytest.mark.parametrize(
    "mangle",
    [
        lambda raw: b"",
        lambda raw: b"[]",
        lambda raw: b"null",
        lambda raw: raw[:-1],
        lambda raw: raw + b"x",
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": 5000000.0'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": 5e6'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": "5000000"'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": NaN'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": -5000000'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": true'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": null'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": 9223372036854775808'),
        lambda raw: raw.replace(b'"stake_micros": 5000000', b'"stake_micros": 1' + b"0" * 400),
        lambda raw: raw.replace(b'"stake_micros": 5000000, ', b""),
        lambda raw: raw.replace(b"{", b'{"extra": 1, ', 1),
        lambda raw: raw.replace(b"{", b'{"stake_micros": 1000000, ', 1),
        lambda raw: raw.replace(b'"nonce": "', b'"nonce": "\xff'),
        lambda raw: raw.replace(b'"nonce": "', b'"nonce": "\\ud800'),
        lambda raw: b"[" * 5_000 + raw,
    ],
)  # fmt: skip
def test_body_of_another_form_is_refused(
    post: Post, trader: Trader, mangle: Callable[[bytes], bytes]
) -> None:
    raw = json.dumps(trader.bet()).encode()
    mangled = mangle(raw)
    assert mangled != raw
    refused(post, mangled, "invalid_request")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wallet", "0x1234"),
        ("wallet", "1" * 42),
        ("wallet", "0x" + "é" * 40),
        ("wallet", "0x" + "\u0661" * 40),  # a digit, but not an ASCII one
        ("cell_id", ""),
        ("cell_id", "1764000010_9500000"),
        ("cell_id", "01764000010_9500000_9501000"),
        ("cell_id", "1764000010_-9500000_9501000"),
        ("cell_id", "1764000010_9500000_9501000\n"),
        ("cell_id", "1" * 10_000),
        ("nonce", "not-a-uuid"),
        ("nonce", "A1B2C3D4-0000-4000-8000-000000000000"),
        ("nonce", "a1b2c3d4000040008000000000000000"),
        ("signature", "0x"),
        ("signature", "0x" + "ab" * 64),
        ("signature", "0x" + "ab" * 66),
        ("signature", "ab" * 65),
        ("signature", "0x" + "zz" * 65),
        ("signature", "0x" + "\uff11" * 130),
    ],
)
def test_field_of_another_form_is_named(post: Post, trader: Trader, field: str, value: str) -> None:
    body = {**trader.bet(), field: value}
    assert refused(post, body, "invalid_request")["field"] == field


def test_huge_body_is_too_large(post: Post) -> None:
    refused(post, b'{"wallet":"' + b"0" * 20_000 + b'"}', "too_large")


def test_other_chain_is_refused(post: Post, trader: Trader) -> None:
    assert refused(post, trader.bet(chain_id=1), "wrong_chain") == {"chain_id": CHAIN_ID}


def test_bad_signature_shows_what_should_have_been_signed(post: Post, trader: Trader) -> None:
    body = trader.bet(sign={"stake_micros": 1 * USDC})
    detail = refused(post, body, "bad_signature")
    assert detail["expected"] == trader.address
    assert detail["recovered"] not in (None, trader.address)
    assert detail["skew_ms"] == 0
    again = Account.sign_message(encode_defunct(text=detail["signed_text"]), trader.account.key)
    body["signature"] = "0x" + again.signature.hex().removeprefix("0x")
    assert post(body)[0] == 202


@pytest.mark.parametrize("domain", ["127.0.0.1", "localhost:8000", "evil.example"])
def test_text_for_another_domain_is_a_bad_signature(
    post: Post, trader: Trader, domain: str
) -> None:
    refused(post, trader.bet(sign={"domain": domain}), "bad_signature")


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_signature_with_another_v_is_bad(post: Post, trader: Trader, v: int) -> None:
    body = trader.bet()
    body["signature"] = body["signature"][:-2] + f"{v:02x}"
    assert refused(post, body, "bad_signature")["recovered"] is None


def test_malleated_signature_is_bad(post: Post, trader: Trader) -> None:
    body = trader.bet()
    raw = bytes.fromhex(body["signature"][2:])
    high_s = ORDER - int.from_bytes(raw[32:64])
    twin = raw[:32] + high_s.to_bytes(32) + bytes([55 - raw[64]])
    body["signature"] = "0x" + twin.hex()
    assert refused(post, body, "bad_signature")["recovered"] is None


def test_old_and_future_timestamps_are_refused(
    post: Post, trader: Trader, now: ManualClock
) -> None:
    start = now.us // 1_000_000
    detail = refused(post, trader.bet(timestamp=start - 31), "timestamp_expired")
    assert detail == {"skew_ms": 31_000}
    refused(post, trader.bet(timestamp=start + 6), "timestamp_in_future")
    assert post(trader.bet(timestamp=start - 30))[0] == 202


def test_unknown_wallet_is_refused(post: Post) -> None:
    refused(post, Trader().bet(), "unknown_wallet")


def test_frozen_wallet_is_refused(post: Post, trader: Trader, writer: InProcessLink) -> None:
    wallet = Wallet.objects.get(address=trader.address)
    writer.call(SetFrozen(wallet.pk, True))
    refused(post, trader.bet(), "wallet_frozen")


def test_freeze_that_this_process_has_not_heard_of_is_refused_by_the_writer(
    post: Post, trader: Trader, writer: InProcessLink, directory: Directory
) -> None:
    directory.remember(read_facts([trader.address])[trader.address], directory.generation)
    wallet = Wallet.objects.get(address=trader.address)
    writer.call(SetFrozen(wallet.pk, True))
    refused(post, trader.bet(), "wallet_frozen")


def test_session_key_signs_until_it_is_revoked(
    post: Post, trader: Trader, writer: InProcessLink, directory: Directory
) -> None:
    key = Account.create()
    wallet = Wallet.objects.get(address=trader.address)
    refused(post, trader.bet(signer=key), "bad_signature")
    done = writer.call(
        AuthorizeKey(
            wallet_id=wallet.pk,
            key=key.address.lower(),
            label="phone",
            max_stake_micros=5 * USDC,
            max_total_micros=50 * USDC,
            expires_at_us=clock.now_us() + 60_000_000,
            nonce="0" * 32,
            timestamp=clock.now_s(),
            signature=bytes(65),
        )
    )
    refused(post, trader.bet(signer=key, stake_micros=10 * USDC), "session_key_invalid")
    body = trader.bet(signer=key)
    assert post(body)[0] == 202
    assert Bet.objects.get().session_key_id == done.id
    writer.call(RevokeKey(wallet.pk, done.id))
    _, answer, _ = post(trader.bet(signer=key))
    assert answer["error"] == "session_key_invalid"


def test_writer_that_is_away_is_a_dependency(
    post: Post, trader: Trader, loop_link: LoopLink
) -> None:
    loop_link.connected = False
    refused(post, trader.bet(), "dependency_unavailable")
    loop_link.connected = True
    loop_link.failure = DependencyError()
    refused(post, trader.bet(), "dependency_unavailable")


def test_lost_answer_is_outcome_unknown_with_the_nonce(
    post: Post, trader: Trader, loop_link: LoopLink
) -> None:
    loop_link.failure = OutcomeUnknown()
    body = trader.bet()
    assert refused(post, body, "outcome_unknown") == {"nonce": body["nonce"]}


def test_stale_price_and_open_breaker_refuse_and_the_bet_can_be_sent_again(
    post: Post, trader: Trader, now: ManualClock, feed_board: Board
) -> None:
    body = trader.bet(cell_id=cell(60))
    now.advance(1.1)
    refused(post, body, "price_stale")
    now.advance(9.1)
    refused(post, body, "breaker_open")
    factories.tick(feed_board)
    assert post(body)[0] == 202


def test_operator_override_refuses(post: Post, trader: Trader, feed_board: Board) -> None:
    feed_board.apply(FeedState(feed_board.tick, "open", "open", "maintenance"))
    assert refused(post, trader.bet(), "breaker_open")["reason"] == "maintenance"


def test_redis_that_is_away_is_a_dependency(post: Post, trader: Trader, nonces: FakeNonces) -> None:
    nonces.away = True
    body = trader.bet()
    refused(post, body, "dependency_unavailable")
    nonces.away = False
    assert post(body)[0] == 202


def test_price_that_grows_old_for_want_of_redis_is_told_as_that(
    post: Post,
    trader: Trader,
    now: ManualClock,
    feed_board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bets.entry.hub.is_down", lambda: True)
    for seconds in (1.5, 10):
        now.advance(seconds)
        assert refused(post, trader.bet(), "dependency_unavailable") == {"what": "redis"}
    factories.tick(feed_board)  # the writer may still reach it, and says so if it does not
    assert post(trader.bet())[0] == 202


def cell(column_offset_s: int = 15, low_offset_cents: int = 0, height_cents: int = 1_000) -> str:
    column = clock.now_s() // 5 * 5 + column_offset_s
    low = PRICE_CENTS // 1_000 * 1_000 + low_offset_cents
    return f"{column}_{low}_{low + height_cents}"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"column_offset_s": 16}, "cell_off_grid"),
        ({"low_offset_cents": 500}, "cell_off_grid"),
        ({"height_cents": 2_000}, "cell_off_grid"),
        ({"column_offset_s": 65}, "cell_off_grid"),
        ({"low_offset_cents": 13_000}, "cell_off_grid"),
        ({"low_offset_cents": -12_000}, "cell_off_grid"),
        ({"column_offset_s": 5}, "cell_locked"),
        ({"column_offset_s": 0}, "cell_locked"),
        ({"column_offset_s": -500}, "cell_locked"),
        ({"low_offset_cents": 12_000, "column_offset_s": 10}, "rate_moved"),
    ],
)
def test_cell_that_takes_no_bet_is_refused(
    post: Post, trader: Trader, arguments: dict[str, int], code: str
) -> None:
    refused(post, trader.bet(cell_id=cell(**arguments)), code)


@pytest.mark.parametrize("stake", [0, 1, 2 * USDC, 100 * USDC + 1, 2**63 - 1])
def test_stake_that_is_no_preset_is_refused(post: Post, trader: Trader, stake: int) -> None:
    refused(post, trader.bet(stake_micros=stake), "stake_not_allowed")


def test_smallest_rate_above_the_screens_is_refused_with_the_rate(
    post: Post, trader: Trader
) -> None:
    detail = refused(post, trader.bet(min_rate_bps=10**6), "rate_moved")
    body = trader.bet(min_rate_bps=detail["rate_bps"])
    assert post(body)[0] == 202


def test_full_cell_is_refused_with_the_room_left(
    post: Post, trader: Trader, quotes: Quotes
) -> None:
    quotes.apply_exposure(ExposureState(1_000 * USDC, []))
    detail = refused(post, trader.bet(), "limit_reached")
    assert 0 < detail["room_micros"] < 5 * USDC


def test_funds_that_do_not_cover_the_stake_are_refused(post: Post, writer: InProcessLink) -> None:
    poor = Trader()
    writer.call(OpenWallet(poor.address))
    assert refused(post, poor.bet(), "insufficient_funds") == {"balance_micros": 0}


def test_player_who_stays_away_is_refused_by_every_way_in(
    post: Post, trader: Trader, writer: InProcessLink, database: DatabaseThread
) -> None:
    wallet = Wallet.objects.get(address=trader.address)
    until_us = clock.now_us() + 3_600 * clock.US_PER_S
    writer.call(SetPlayerLimits(wallet.pk, {"cool_off_until": until_us}))
    why = {"limit": "cool_off_until", "until": clock.iso_ms(until_us)}

    assert refused(post, trader.bet(), "player_limit") == why
    _, answer, _ = post({"bets": [trader.bet(), trader.bet()]}, "/api/v1/bets/batch")
    assert [(r["status"], r["error"]) for r in answer["results"]] == [(422, "player_limit")] * 2
    _, answer, _ = post(trader.bet(), "/api/v1/bets/check")
    assert (answer["ok"], answer["error"], answer["detail"]) == (False, "player_limit", why)
    placed, told = database.run(endpoint.place_from_socket(trader.bet(), "127.0.0.1"))
    assert (placed, told["error"], told["detail"]) == (False, "player_limit", why)
    assert nothing_stored()


def test_taken_cell_and_used_nonce_are_refused(post: Post, trader: Trader) -> None:
    body = trader.bet()
    _, bet, _ = post(body)
    status, answer, _ = post(trader.bet())
    assert (status, answer["error"]) == (409, "cell_taken")
    status, answer, _ = post(body)
    assert (status, answer["error"]) == (409, "nonce_reused")
    del bet["balance_micros"]
    assert answer["detail"] == {"bet": bet, "same_request": True}
    other = trader.bet(nonce=body["nonce"], cell_id=cell(low_offset_cents=500))
    status, answer, _ = post(other)
    assert (answer["error"], answer["detail"]["same_request"]) == ("nonce_reused", False)
    assert Bet.objects.count() == 1


def test_batch_answers_each_bet_in_order(post: Post, trader: Trader) -> None:
    good, again = trader.bet(), trader.bet()
    bets = [good, {"wallet": "x"}, again, trader.bet(chain_id=1)]
    status, answer, _ = post({"bets": bets}, "/api/v1/bets/batch/")
    assert status == 200
    assert [r["status"] for r in answer["results"]] == [202, 400, 409, 401]
    assert answer["results"][0]["bet"]["nonce"] == good["nonce"]
    assert [r.get("error") for r in answer["results"][1:]] == [
        "invalid_request",
        "cell_taken",
        "wrong_chain",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"bets": []}',
        b'{"bets": {}}',
        b'{"bets": [], "more": []}',
        b'{"bets": [{}], "bets": [{}]}',
        b'{"bets": [' + b",".join([b"{}"] * 21) + b"]}",
    ],
)
def test_batch_of_another_form_is_refused(post: Post, body: bytes) -> None:
    status, answer, _ = post(body, "/api/v1/bets/batch")
    assert (status, answer["error"]) == (400, "invalid_request")


def test_check_answers_without_claiming_anything(post: Post, trader: Trader) -> None:
    body = trader.bet()
    for _ in range(2):
        status, answer, _ = post(body, "/api/v1/bets/check")
        assert (status, answer["ok"], answer["error"]) == (200, True, None)
        assert answer["rate_bps"] > 10_000
    assert nothing_stored()
    assert post(body)[0] == 202
    _, answer, _ = post(trader.bet(), "/api/v1/bets/check")
    assert (answer["ok"], answer["error"]) == (False, "cell_taken")


def test_check_of_another_form_is_refused(post: Post) -> None:
    status, answer, _ = post({"wallet": 1}, "/api/v1/bets/check")
    assert (status, answer["error"]) == (400, "invalid_request")
