"""The breaker's states, spelled out second by second."""

import pytest

from pricefeed.breaker import Breaker, Override, Verdict


def breaker() -> Breaker:
    return Breaker(degraded_ms=3_000, open_ms=10_000, recovery_ms=30_000)


def ticked(from_ms: int, to_ms: int, of: Breaker) -> Breaker:
    for at_ms in range(from_ms, to_ms + 1, 100):
        of.tick(at_ms)
    return of


def test_judge_when_nothing_was_heard_then_open() -> None:
    assert breaker().judge(0).breaker == "open"


def test_judge_when_the_first_price_ever_came_then_closed_at_once() -> None:
    assert ticked(0, 0, breaker()).judge(0) == Verdict("closed", "auto", "")


@pytest.mark.parametrize(
    ("age_ms", "state"),
    [(3_000, "closed"), (3_001, "degraded"), (10_000, "degraded"), (10_001, "open")],
)
def test_judge_when_the_index_ages_then_degraded_and_open(age_ms: int, state: str) -> None:
    assert ticked(0, 0, breaker()).judge(age_ms).breaker == state


def test_judge_when_prices_are_back_then_closed_only_after_thirty_stable_seconds() -> None:
    subject = ticked(0, 0, breaker())
    ticked(20_000, 49_900, subject)
    assert subject.judge(49_999).breaker == "open"
    assert "30 s" in subject.judge(49_999).reason
    subject.tick(50_000)
    assert subject.judge(50_000).breaker == "closed"


def test_judge_when_a_gap_interrupts_recovery_then_the_thirty_seconds_begin_again() -> None:
    subject = ticked(0, 0, breaker())
    ticked(20_000, 40_000, subject)
    ticked(50_100, 80_000, subject)
    assert subject.judge(80_000).breaker == "open"
    ticked(80_100, 80_100, subject)
    assert subject.judge(80_100).breaker == "closed"


def test_judge_when_the_pause_is_exactly_the_bound_then_no_gap() -> None:
    subject = ticked(0, 0, breaker())
    subject.tick(10_000)
    assert subject.judge(10_000).breaker == "closed"


def test_resume_when_the_last_process_crashed_then_its_gap_counts() -> None:
    subject = breaker()
    subject.resume(0, was_open=False)
    subject.tick(10_100)
    assert subject.judge(10_100).breaker == "open"
    ticked(10_200, 40_100, subject)
    assert subject.judge(40_100).breaker == "closed"


def test_resume_when_the_crash_was_short_then_closed() -> None:
    subject = breaker()
    subject.resume(0, was_open=False)
    subject.tick(4_000)
    assert subject.judge(4_000).breaker == "closed"


def test_resume_when_it_had_been_open_then_it_stays_open() -> None:
    subject = breaker()
    subject.resume(0, was_open=True)
    subject.tick(1_000)
    assert subject.judge(1_000).breaker == "open"


def test_override_when_open_then_refused_until_it_expires() -> None:
    subject = ticked(0, 1_000, breaker())
    subject.override = Override("open", until_ms=2_000, reason="drill")
    assert subject.judge(1_999) == Verdict("open", "open", "drill")
    assert subject.judge(2_000) == Verdict("closed", "auto", "")


def test_override_when_close_then_the_thirty_seconds_are_skipped() -> None:
    subject = ticked(0, 0, breaker())
    subject.tick(20_000)
    assert subject.judge(20_000).breaker == "open"
    subject.override = Override("close", None, "checked by hand")
    assert subject.judge(20_000) == Verdict("closed", "close", "checked by hand")


def test_override_when_close_then_an_old_index_stays_open() -> None:
    subject = ticked(0, 0, breaker())
    subject.override = Override("close")
    assert subject.judge(10_001).breaker == "open"
    assert breaker().judge(0).breaker == "open"


def test_override_when_close_expires_then_recovery_goes_on_as_if_it_had_not_been() -> None:
    subject = ticked(0, 0, breaker())
    ticked(20_000, 40_000, subject)
    subject.override = Override("close", until_ms=30_000)
    assert subject.judge(29_999).breaker == "closed"
    assert subject.judge(30_000).breaker == "open"


def test_override_when_auto_then_none() -> None:
    subject = ticked(0, 0, breaker())
    subject.override = Override("auto", None, "by someone")
    assert subject.judge(0) == Verdict("closed", "auto", "")


def test_judge_when_marks_were_made_up_late_then_still_recovering() -> None:
    feed = ticked(0, 0, breaker())
    assert feed.judge(11_000).breaker == "open"
    ticked(1_100, 40_900, feed)  # a feed that was stopped catches up, then goes on
    assert feed.judge(40_900).breaker == "open"
    ticked(41_000, 41_000, feed)
    assert feed.judge(41_000).breaker == "closed"
