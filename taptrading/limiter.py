"""Token buckets in this process's memory, a bucket a key. Pure: it is handed its time."""

from collections import OrderedDict
from typing import Final, NamedTuple

from taptrading.clock import US_PER_S

KEYS_MAX: Final = 100_000


class Verdict(NamedTuple):
    """What a limited resource answers: the fields of the RateLimit-* headers, and Retry-After."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }


class TokenBuckets:
    """Each key may do `burst` things at once and gets one more each `period_us`.

    A bucket is one number, the instant at which it will be full again. At most `keys_max` are
    kept: the one touched longest ago is forgotten first.
    """

    def __init__(self, *, burst: int, period_us: int, keys_max: int = KEYS_MAX) -> None:
        if burst < 1 or period_us < 1 or keys_max < 1:
            raise ValueError("a bucket holds at least one token and fills in some time")
        self._burst = burst
        self._period_us = period_us
        self._burst_us = burst * period_us
        self._keys_max = keys_max
        self._full_at_us: OrderedDict[str, int] = OrderedDict()

    def take(self, key: str, now_us: int) -> Verdict:
        """Take one token, if there is one."""
        full_at_us = self._full_at_us.get(key, 0)
        full_at_us = (full_at_us if full_at_us > now_us else now_us) + self._period_us
        over_us = full_at_us - now_us - self._burst_us
        allowed = over_us <= 0
        if not allowed:
            full_at_us -= self._period_us
        self._full_at_us[key] = full_at_us
        self._full_at_us.move_to_end(key)
        if len(self._full_at_us) > self._keys_max:
            self._full_at_us.popitem(last=False)
        missing_us = full_at_us - now_us
        remaining = self._burst - -(-missing_us // self._period_us)
        return Verdict(
            allowed,
            self._burst,
            remaining if remaining > 0 else 0,
            -(-missing_us // US_PER_S),
            0 if allowed else -(-over_us // US_PER_S),
        )
