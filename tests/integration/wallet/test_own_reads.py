"""A trader's own reads without Django: the same answers as the views', or none."""

import asyncio
import json
from typing import Any

import pytest
from django.db import OperationalError

from bets import own_reads
from bets.models import Bet
from bets.own_reads import Asked, OwnReads, asked_of, read_together
from taptrading.limits import LIMITS
from tests.fakes import InProcessLink
from tests.integration.wallet.test_every_read import BET_ID, NONCES, fill
from wallet.models import Wallet

PLAIN = [
    "wallet",
    "wallet/",
    "bets",
    "bets?limit=7",
    "bets/?before=9&limit=7",
    "bets?status=won&limit=5",
    "bets?status=lost",
    f"bets/{BET_ID}",
    f"bets/by-nonce/{NONCES[1]}",
    "ledger",
    "ledger?kind=STAKE&limit=3",
    "ledger?limit=3&before=20&kind=PAYOUT",
    "session-keys?limit=50",
    "session-keys?limit=2",
    "deposits?limit=200",
    "deposits?before=5",
    "withdrawals?limit=1",
]
LEFT_TO_VIEWS = [
    "bets?limit=0",
    "bets?limit=201",
    "bets?limit=007",
    "bets?limit=",
    "bets?limit=5&limit=6",
    "bets?limit=%35",
    "bets?limit=٣",
    "bets?before=9223372036854775808",
    "bets?status=open",
    "bets?status=",
    "bets?kind=STAKE",
    "bets?from=2025-11-24T15:00:00Z",
    "bets?",
    "bets?&limit=5",
    "wallet?limit=5",
    "ledger?status=won",
    "ledger?kind=stake",
    "bets/0",
    "bets/x",
    "bets/by-nonce/x",
    f"bets/by-nonce/{str(NONCES[1]).upper()}A",
    "settlements/1764000000",
    "config",
]


def scope(path: str, token: str = "t", method: str = "GET", **headers: str) -> dict[str, Any]:
    path, mark, query = path.partition("?")
    named = {"authorization": f"Bearer {token}"} | headers
    return {
        "type": "http",
        "method": method,
        "path": "/api/v1/" + path,
        "query_string": (query or mark.replace("?", "&")).encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }


@pytest.mark.parametrize("path", PLAIN)
def test_plain_read_then_the_same_body_as_the_views(
    trader: Any, writer: InProcessLink, path: str
) -> None:
    fill(Wallet.objects.get(address=trader.address), 50)
    asked = asked_of(scope(path, trader.token))
    assert asked is not None
    (body,) = read_together([asked])
    reply = trader.get(path)
    assert reply.status_code == 200
    assert body is not None
    assert json.loads(body) == reply.json()


@pytest.mark.parametrize("path", LEFT_TO_VIEWS)
def test_read_when_it_is_not_plain_then_left_to_the_views(path: str) -> None:
    assert asked_of(scope(path)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "HEAD"},
        {"method": "POST"},
        {"accept": "text/csv"},
        {"accept": "text/html,*/*;q=0.8"},
        {"authorization": "Basic abc"},
        {"authorization": ""},
    ],
)
def test_read_when_asked_for_in_another_way_then_left_to_the_views(changes: Any) -> None:
    assert asked_of(scope("bets")) is not None
    assert asked_of(scope("bets", **changes)) is None


def test_read_when_the_token_is_unknown_or_another_wallets_then_nothing_is_told(
    trader: Any, stranger: Any, writer: InProcessLink
) -> None:
    fill(Wallet.objects.get(address=trader.address), 2)
    stranger.sign_in()
    assert read_together([Asked("/api/v1/wallet", "wrong", {})]) == [None]
    one = [f"/api/v1/bets/{BET_ID}", f"/api/v1/bets/by-nonce/{NONCES[1]}"]
    assert read_together([Asked(path, stranger.token, {}) for path in one]) == [None, None]
    (page,) = read_together([Asked("/api/v1/bets", stranger.token, {})])
    assert json.loads(page or b"") == {"results": [], "next": None}
    trader.post("auth/logout", {})
    assert read_together([Asked("/api/v1/wallet", trader.token, {})]) == [None]


def test_statuses_and_bounds_are_those_of_the_views() -> None:
    for status in Bet.Status.values:
        assert asked_of(scope(f"bets?status={status}")) is not None
    assert asked_of(scope(f"bets?limit={LIMITS.page_max}")) is not None


async def answer(reads: OwnReads, asked: dict[str, Any]) -> list[Any]:
    """Whether it was answered, and what was sent."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    answered = await reads.answered(asked, send)
    return [answered, *sent]


async def test_reads_that_come_together_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    def read(every: Any) -> list[bytes | None]:
        batches.append(len(every))
        return [asked.token.encode() for asked in every]

    monkeypatch.setattr(own_reads, "read_together", read)
    reads = OwnReads()
    every = [scope("wallet", token=f"t{number}") for number in range(40)]
    answers = await asyncio.gather(*(answer(reads, one) for one in every))
    assert [found[-1]["body"] for found in answers] == [b"t%d" % number for number in range(40)]
    assert max(batches) == own_reads.TOGETHER
    assert len(batches) <= 4
    start = answers[0][1]
    assert (start["status"], dict(start["headers"])[b"cache-control"]) == (200, b"no-store")


@pytest.mark.parametrize("error", [OperationalError("disk I/O error"), ZeroDivisionError()])
async def test_read_when_it_fails_then_left_to_the_views_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    answers: list[Any] = [error, [b"{}"]]

    def read(every: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(own_reads, "read_together", read)
    reads = OwnReads()
    assert await answer(reads, scope("wallet")) == [False]
    assert (await answer(reads, scope("wallet")))[0] is True


async def test_read_when_who_asked_has_left_then_the_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_reads, "read_together", lambda every: [b"{}" for _ in every])
    reads = OwnReads()
    leaving = asyncio.ensure_future(answer(reads, scope("wallet")))
    staying = asyncio.ensure_future(answer(reads, scope("wallet")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying)[0] is True
