"""The feed's own time against a wall clock that is set."""

from pricefeed.receive_clock import ReceiveClock

S = 1_000_000


class Clocks:
    def __init__(self) -> None:
        self.wall_us = 1_000 * S
        self.monotonic_us = 5 * S
        self.subject = ReceiveClock(lambda: self.wall_us, lambda: self.monotonic_us)

    def go(self, us: int, set_wall_by_us: int = 0) -> int:
        self.monotonic_us += us
        self.wall_us += us + set_wall_by_us
        self.subject.follow()
        return self.subject.now_us()


def test_follow_when_nothing_is_set_then_the_wall_clock() -> None:
    assert Clocks().go(3 * S) == 1_003 * S


def test_follow_when_set_forward_then_at_once() -> None:
    assert Clocks().go(S, set_wall_by_us=60 * S) == 1_061 * S


def test_follow_when_set_back_then_slower_but_never_backwards() -> None:
    clocks = Clocks()
    before_us = clocks.subject.now_us()
    after_us = clocks.go(S, set_wall_by_us=-2 * S)
    assert before_us < after_us == 1_000 * S + 900_000
    for _ in range(30):
        after_us, before_us = clocks.go(S), after_us
        assert after_us > before_us
    assert after_us == clocks.wall_us
