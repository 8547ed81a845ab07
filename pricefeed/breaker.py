"""CLOSED lets bets through, OPEN refuses them; DEGRADED is a warning. Pure: handed its time.

    CLOSED -- index older than 3 s --> DEGRADED -- older than 10 s --> OPEN
    OPEN -- 30 s in which the index never grew older than 10 s --> CLOSED

An operator's override replaces that judgement until it expires: `open` refuses, `close` skips
the 30 s but never the age of the index, `auto` is no override.
"""

from typing import Final, NamedTuple

CLOSED: Final = "closed"
DEGRADED: Final = "degraded"
OPEN: Final = "open"

AUTO: Final = "auto"
FORCE_OPEN: Final = "open"
FORCE_CLOSE: Final = "close"
OVERRIDES: Final = (FORCE_OPEN, FORCE_CLOSE, AUTO)


class Override(NamedTuple):
    state: str = AUTO
    until_ms: int | None = None
    reason: str = ""

    def at(self, now_ms: int) -> "Override":
        """What holds at this instant: an expired override is none."""
        expired = self.until_ms is not None and now_ms >= self.until_ms
        return NO_OVERRIDE if expired or self.state == AUTO else self


NO_OVERRIDE: Final = Override()


class Verdict(NamedTuple):
    breaker: str
    override: str
    reason: str


class Breaker:
    """Told of every index tick; judges at any instant that does not lie before the last one."""

    def __init__(self, *, degraded_ms: int, open_ms: int, recovery_ms: int) -> None:
        self._degraded_ms = degraded_ms
        self._open_ms = open_ms
        self._recovery_ms = recovery_ms
        self._last_ms: int | None = None
        self._recovering_since_ms: int | None = None
        self._seen_old_ms: int | None = None
        self.override = NO_OVERRIDE

    def resume(self, last_ms: int, *, was_open: bool) -> None:
        """Go on from what a process that ended without a clean stop had published."""
        self._last_ms = last_ms
        self._recovering_since_ms = last_ms if was_open else None

    def tick(self, at_ms: int) -> None:
        """The index has a price at this mark. The first one ever closes the breaker.

        A mark that is made up late does not undo that the index was seen to be old meanwhile.
        """
        if self._last_ms is not None and at_ms - self._last_ms > self._open_ms:
            self._recovering_since_ms = at_ms
        if self._seen_old_ms is not None:
            self._recovering_since_ms = max(at_ms, self._seen_old_ms)
            self._seen_old_ms = None
        self._last_ms = at_ms

    def judge(self, now_ms: int) -> Verdict:
        override = self.override.at(now_ms)
        if override.state == FORCE_OPEN:
            return Verdict(OPEN, FORCE_OPEN, override.reason)
        state, reason = self._by_age(now_ms)
        if override.state == FORCE_CLOSE:
            return Verdict(state, FORCE_CLOSE, reason or override.reason)
        if state != OPEN and self._is_recovering(now_ms):
            state, reason = OPEN, f"waiting for {self._recovery_ms // 1_000} s of stable prices"
        return Verdict(state, AUTO, reason)

    def _by_age(self, now_ms: int) -> tuple[str, str]:
        if self._last_ms is None:
            return OPEN, "no price yet"
        age_ms = now_ms - self._last_ms
        if age_ms > self._open_ms:
            self._seen_old_ms = now_ms
            return OPEN, f"no index price for more than {self._open_ms // 1_000} s"
        if age_ms > self._degraded_ms:
            return DEGRADED, f"no index price for more than {self._degraded_ms // 1_000} s"
        return CLOSED, ""

    def _is_recovering(self, now_ms: int) -> bool:
        since_ms = self._recovering_since_ms
        if since_ms is None:
            return False
        if now_ms - since_ms < self._recovery_ms:
            return True
        self._recovering_since_ms = None
        return False
