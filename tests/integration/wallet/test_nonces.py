"""Admission through a real server: rate limit, nonces, and what happens when it goes away."""

import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import redis

from taptrading.errors import DependencyError, Refusal
from taptrading.limits import LIMITS
from tests.fakes import ManualClock
from tests.servers import Valkey, valkey_server
from wallet.nonces import Nonces


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def store(server: Valkey) -> "redis.Redis":
    client = redis.Redis.from_url(server.url)
    client.flushall()
    return client


@pytest.fixture
def nonces(store: "redis.Redis") -> Nonces:
    return Nonces(store)


def fresh() -> str:
    return uuid.uuid4().hex


class Claim(NamedTuple):
    wallet_id: int
    nonce: str
    digest: int


def bet(wallet_id: int, nonce: str = "", digest: int = 1) -> Claim:
    return Claim(wallet_id, nonce or fresh(), digest)


def test_admit_lets_a_burst_through_and_then_one_each_period(
    nonces: Nonces, now: ManualClock
) -> None:
    burst = nonces.admit([bet(7) for _ in range(LIMITS.bet_burst + 1)], now.us)
    assert [a.refusal is None for a in burst] == [True] * LIMITS.bet_burst + [False]
    assert [a.remaining for a in burst[:3]] == [19, 18, 17]
    assert burst[-1].refusal is not None
    assert (burst[-1].refusal.code, burst[-1].wait_us) == ("rate_limited", 100_000)
    assert burst[-1].refusal.detail == {"retry_after_ms": 100}
    (early,) = nonces.admit([bet(7)], now.us + 99_999)
    (in_time,) = nonces.admit([bet(7)], now.us + 100_000)
    assert early.refusal is not None
    assert in_time.refusal is None
    (other,) = nonces.admit([bet(8)], now.us)
    assert other.refusal is None


def test_admit_over_the_limit_does_not_use_the_nonce(
    nonces: Nonces, store: "redis.Redis", now: ManualClock
) -> None:
    nonces.admit([bet(7) for _ in range(LIMITS.bet_burst)], now.us)
    nonce = fresh()
    nonces.admit([bet(7, nonce)], now.us)
    assert not store.exists(f"tap:nonce:7:{nonce}:1")


def test_admit_claims_the_nonce_for_ninety_seconds(
    nonces: Nonces, store: "redis.Redis", now: ManualClock
) -> None:
    nonce = fresh()
    nonces.admit([bet(7, nonce)], now.us)
    assert 89_000 < store.pttl(f"tap:nonce:7:{nonce}:1") <= 90_000


def test_admit_of_an_own_claim_leaves_the_answer_to_the_database(
    nonces: Nonces, now: ManualClock
) -> None:
    nonce = fresh()
    for _ in range(2):  # a writer that crashed after claiming it, and its successor
        (admitted,) = nonces.admit([bet(7, nonce)], now.us)
        assert admitted.refusal is None


def test_admit_repeats_a_refusal_that_was_final(nonces: Nonces, now: ManualClock) -> None:
    nonce = fresh()
    nonces.admit([bet(7, nonce)], now.us)
    nonces.settle([], [(bet(7, nonce), Refusal("rate_moved", {"rate_bps": 12_000}))])
    (again,) = nonces.admit([bet(7, nonce)], now.us)
    assert again.refusal is not None
    assert again.refusal.code == "rate_moved"
    assert again.refusal.detail == {"rate_bps": 12_000, "repeated": True}
    assert again.refusal.message
    other_wallet, other_request = nonces.admit([bet(8, nonce), bet(7, nonce, 2)], now.us)
    assert other_wallet.refusal is None
    assert other_request.refusal is None


def test_refusals_of_two_requests_with_one_nonce_are_both_remembered(
    nonces: Nonces, now: ManualClock
) -> None:
    nonce = fresh()
    for digest, code in ((1, "rate_moved"), (2, "cell_taken")):
        nonces.admit([bet(7, nonce, digest)], now.us)
        nonces.settle([], [(bet(7, nonce, digest), Refusal(code))])
    for digest, code in ((1, "rate_moved"), (2, "cell_taken")):
        (again,) = nonces.admit([bet(7, nonce, digest)], now.us)
        assert again.refusal is not None
        assert again.refusal.code == code


def test_nonce_given_back_is_free(nonces: Nonces, store: "redis.Redis", now: ManualClock) -> None:
    nonce = fresh()
    nonces.admit([bet(7, nonce)], now.us)
    nonces.settle([bet(7, nonce)], [])
    assert not store.exists(f"tap:nonce:7:{nonce}:1")


def test_server_that_is_away_is_a_dependency_and_comes_back(
    server: Valkey, now: ManualClock
) -> None:
    nonces = Nonces(redis.Redis.from_url(server.url, retry=None))
    server.stop()
    try:
        with pytest.raises(DependencyError):
            nonces.admit([bet(7)], now.us)
        nonces.settle([bet(7)], [])  # does not raise
    finally:
        server.start()
    with pytest.raises(DependencyError):  # not asked again at once
        nonces.admit([bet(7)], now.us)
    now.advance(0.5)
    (admitted,) = nonces.admit([bet(7)], now.us)
    assert admitted.refusal is None


def test_server_that_forgot_the_script_is_taught_again(
    nonces: Nonces, store: "redis.Redis", now: ManualClock
) -> None:
    nonces.admit([bet(7)], now.us)
    store.script_flush()
    (admitted,) = nonces.admit([bet(7)], now.us)
    assert admitted.refusal is None
