"""Admission through a real server: rate limit, nonces, and what happens when it goes away."""

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import redis

from taptrading.errors import DependencyError, Refusal
from taptrading.limits import LIMITS
from tests.fakes import ManualClock
from tests.servers import Valkey, valkey_server
from wallet.nonces import Buckets, Nonces


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def store(server: Valkey) -> "redis.Redis":
    client = redis.Redis.from_url(server.url)
    client.flushall()
    return client


class OldClient(redis.Redis):
    """Of a server from before MSETEX."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == "MSETEX":
            raise redis.ResponseError("unknown command 'MSETEX', with args beginning with: ...")
        return super().execute_command(*args, **options)


@pytest.fixture(params=[redis.Redis, OldClient])
def nonces(request: pytest.FixtureRequest, server: Valkey, store: "redis.Redis") -> Nonces:
    return Nonces(request.param.from_url(server.url))


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


def test_admit_says_when_the_bucket_is_full_again(nonces: Nonces, now: ManualClock) -> None:
    first, second = nonces.admit([bet(7), bet(7)], now.us)
    assert (first.wait_us, second.wait_us) == (100_000, 200_000)
    (later,) = nonces.admit([bet(7)], now.us + 150_001)
    assert (later.remaining, later.wait_us) == (18, 149_999)
    (much_later,) = nonces.admit([bet(7)], now.us + 60_000_000)
    assert (much_later.remaining, much_later.wait_us) == (19, 100_000)


def test_bet_with_a_used_nonce_takes_a_token(nonces: Nonces, now: ManualClock) -> None:
    nonce = fresh()
    nonces.admit([bet(7, nonce)], now.us)
    nonces.settle([], [(bet(7, nonce), Refusal("rate_moved"))])
    (again,) = nonces.admit([bet(7, nonce)], now.us)
    assert (again.refusal is None, again.remaining) == (False, 18)


def test_buckets_that_are_full_again_are_dropped(now: ManualClock) -> None:
    buckets = Buckets()
    for _ in range(3):
        _, full_at_us = buckets.look([bet(7), bet(8)], now.us)
        buckets.keep(full_at_us, now.us)
    now.advance(0.299)
    buckets.keep({}, now.us)
    assert len(buckets) == 2
    now.advance(0.001)
    buckets.keep({}, now.us)
    assert len(buckets) == 0


def test_buckets_are_bounded_and_forget_the_one_untouched_for_longest(now: ManualClock) -> None:
    buckets = Buckets(wallets_max=2)
    for wallet_id in (7, 8, 7, 9):
        _, full_at_us = buckets.look([bet(wallet_id)], now.us)
        buckets.keep(full_at_us, now.us)
    assert len(buckets) == 2
    answers, _ = buckets.look([bet(7), bet(8), bet(9)], now.us)
    assert [answer.remaining for answer in answers] == [17, 19, 18]


def test_claims_among_which_one_is_taken_are_claimed_all_the_same(
    nonces: Nonces, store: "redis.Redis", now: ManualClock
) -> None:
    nonce = fresh()
    nonces.admit([bet(7, nonce)], now.us)
    nonces.settle([], [(bet(7, nonce), Refusal("rate_moved"))])
    bets = [bet(8), bet(7, nonce), bet(9), bet(7, nonce, digest=2)]
    answers = nonces.admit(bets, now.us)
    assert [answer.refusal and answer.refusal.code for answer in answers] == [
        *(None, "rate_moved", None, None)
    ]
    assert 89_000 < store.pttl(f"tap:nonce:9:{bets[2].nonce}:1") <= 90_000


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
    assert (admitted.refusal, admitted.remaining) == (None, 19)  # no token was taken meanwhile


def test_server_that_answers_with_another_error_is_a_dependency_too(
    nonces: Nonces, store: "redis.Redis", now: ManualClock
) -> None:
    store.config_set("maxmemory", 1)
    try:
        with pytest.raises(DependencyError):
            nonces.admit([bet(7)], now.us)
    finally:
        store.config_set("maxmemory", 0)
    now.advance(0.5)
    (admitted,) = nonces.admit([bet(7)], now.us)
    assert (admitted.refusal, admitted.remaining) == (None, 19)


def test_refusal_is_remembered_though_the_server_went_away_during_its_batch(
    server: Valkey, now: ManualClock
) -> None:
    client = redis.Redis.from_url(server.url, retry=None)
    nonces, refused = Nonces(client), bet(7)
    nonces.admit([refused], now.us)
    server.stop()
    try:
        nonces.settle([], [(refused, Refusal("rate_moved"))])
    finally:
        server.start()
    now.advance(0.5)
    for asked in (nonces, Nonces(client)):  # from memory, and then it is in Redis too
        (again,) = asked.admit([refused], now.us)
        assert again.refusal is not None
        assert again.refusal.code == "rate_moved"


def test_bet_over_the_limit_is_told_that_the_server_is_away(
    server: Valkey, now: ManualClock
) -> None:
    """A refusal for want of the server comes before one for the limit."""
    nonces = Nonces(redis.Redis.from_url(server.url, retry=None))
    nonces.admit([bet(7) for _ in range(LIMITS.bet_burst)], now.us)
    server.stop()
    try:
        with pytest.raises(DependencyError):
            nonces.admit([bet(7)], now.us)
    finally:
        server.start()


def test_server_that_forgot_the_script_is_taught_again(
    nonces: Nonces, store: "redis.Redis", now: ManualClock
) -> None:
    nonce = fresh()
    for _ in range(2):
        nonces.admit([bet(7, nonce)], now.us)
    store.script_flush()
    (admitted,) = nonces.admit([bet(7, nonce)], now.us)
    assert admitted.refusal is None
