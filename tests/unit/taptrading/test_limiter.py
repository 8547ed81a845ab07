"""Token buckets, on times that the test hands them."""

import pytest

from taptrading.limiter import TokenBuckets

S = 1_000_000


def test_take_when_burst_is_spent_then_refused_until_a_token_is_back() -> None:
    buckets = TokenBuckets(burst=3, period_us=2 * S)
    assert [buckets.take("a", 0).remaining for _ in range(3)] == [2, 1, 0]

    refused = buckets.take("a", 0)
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 0, 2)

    assert buckets.take("a", 2 * S - 1).allowed is False
    assert buckets.take("a", 2 * S).allowed is True
    assert buckets.take("a", 2 * S).allowed is False


def test_take_when_refused_then_it_costs_nothing() -> None:
    buckets = TokenBuckets(burst=1, period_us=S)
    buckets.take("a", 0)
    for _ in range(100):
        assert buckets.take("a", S - 1).allowed is False
    assert buckets.take("a", S).allowed is True


def test_take_when_another_key_then_another_bucket() -> None:
    buckets = TokenBuckets(burst=1, period_us=S)
    assert buckets.take("a", 0).allowed
    assert buckets.take("b", 0).allowed
    assert not buckets.take("a", 0).allowed


def test_take_when_long_idle_then_no_more_than_the_burst() -> None:
    buckets = TokenBuckets(burst=2, period_us=S)
    buckets.take("a", 0)
    assert [buckets.take("a", 1_000 * S).allowed for _ in range(3)] == [True, True, False]


def test_take_when_keys_are_many_then_the_oldest_is_forgotten() -> None:
    buckets = TokenBuckets(burst=1, period_us=S, keys_max=2)
    for key in ("a", "b", "c"):
        buckets.take(key, 0)
    assert not buckets.take("c", 0).allowed
    assert buckets.take("a", 0).allowed


def test_headers_then_those_of_the_contract() -> None:
    verdict = TokenBuckets(burst=10, period_us=S).take("a", 0)
    assert verdict.headers() == {
        "RateLimit-Limit": "10",
        "RateLimit-Remaining": "9",
        "RateLimit-Reset": "1",
    }


def test_make_when_it_could_hold_nothing_then_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        TokenBuckets(burst=0, period_us=S)
