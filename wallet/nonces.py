"""Admission of signed bets: each wallet's rate limit and its nonces, one Redis round trip a batch.

A nonce is claimed for 90 s before the batch and given back when the refusal invites a retry
(429, 503). Any other refusal is remembered in its place, so that the same request sent again is
answered the same way instead of becoming a bet after its trader was told that it was refused.
Another request with that nonce is another bet, which its trader signed anew.
The database's UNIQUE (wallet, nonce) has the last word; Redis only spares it the question.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import redis
from django.conf import settings

from taptrading import clock
from taptrading.errors import DependencyError, Refusal
from taptrading.limits import LIMITS

# GCRA: one number a wallet, the time at which its bucket is full again, in microseconds.
_ADMIT: Final = """
local now, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ttl, node = ARGV[4], ARGV[5]
local answer = {}
for i = 6, #ARGV, 2 do
  local rate, nonce = 'tap:rate:' .. ARGV[i], 'tap:nonce:' .. ARGV[i] .. ':' .. ARGV[i + 1]
  local full_at = math.max(tonumber(redis.call('GET', rate) or '0'), now)
  local after = full_at + interval
  local spare = burst * interval - (after - now)
  if spare < 0 then
    answer[#answer + 1] = 'limited'
    answer[#answer + 1] = 0
    answer[#answer + 1] = math.ceil(-spare)
  else
    local px = math.max(1, math.ceil((after - now) / 1000))
    redis.call('SET', rate, string.format('%.0f', after), 'PX', px)
    local mine = redis.call('SET', nonce, node, 'NX', 'PX', ttl)
    answer[#answer + 1] = mine and '' or redis.call('GET', nonce)
    answer[#answer + 1] = math.floor(spare / interval)
    answer[#answer + 1] = math.ceil(after - now)
  end
end
return answer
"""

_REFUSED: Final = b"!"
_PAUSE_US: Final = 500_000
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, Refusal]).decode


class Claim(NamedTuple):
    """A bet's nonce. `digest` tells its request from others with the same nonce."""

    wallet_id: int
    nonce: str
    digest: int

    @property
    def key(self) -> str:
        return f"tap:nonce:{self.wallet_id}:{self.nonce}"


class Admitted(NamedTuple):
    """What Redis says of one bet: `refusal` None lets it in. `wait_us` is until the bucket is
    full again, or, when the bet is over the limit, until the next one is admitted."""

    refusal: Refusal | None
    remaining: int
    wait_us: int


class Nonces:
    """Blocking, with short time-outs. A server that is away is not asked again for half a second,
    so that a dead one does not hold up pricing and settlement."""

    def __init__(self, client: "redis.Redis | None" = None, *, node: int = 0) -> None:
        self._redis = client or redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5
        )
        self._script = self._redis.register_script(_ADMIT)
        self._node = f"node:{node}"
        self._away_until_us = 0

    def admit(self, bets: Sequence[Claim], now_us: int) -> list[Admitted]:
        """What Redis says of each, in order. Raises DependencyError."""
        interval_us = 1_000_000 / max(LIMITS.bet_rate_per_s, 1)
        head: list[int | float | str] = [
            now_us,
            interval_us,
            LIMITS.bet_burst,
            LIMITS.nonce_ttl_s * 1_000,
            self._node,
        ]
        flat: list[int | str] = [part for bet in bets for part in (bet.wallet_id, bet.nonce)]
        answer = self._ask(lambda: self._script(args=[*head, *flat]))
        return [
            self._admitted(bet, word, remaining, wait_us)
            for bet, word, remaining, wait_us in zip(
                bets, answer[::3], answer[1::3], answer[2::3], strict=True
            )
        ]

    def _admitted(self, bet: Claim, word: bytes, remaining: int, wait_us: int) -> Admitted:
        if word == b"limited":
            refusal = Refusal("rate_limited", {"retry_after_ms": -(-wait_us // 1_000)})
            return Admitted(refusal, 0, wait_us)
        if word.startswith(_REFUSED):
            return Admitted(_remembered(word[1:], bet.digest), remaining, wait_us)
        # Free, or ours from before a crash, or another node's: the database knows.
        return Admitted(None, remaining, wait_us)

    def settle(self, give_back: Iterable[Claim], refused: Iterable[tuple[Claim, Refusal]]) -> None:
        """After the batch: free these nonces, remember those refusals. Never raises: what is not
        given back expires by itself."""
        ttl_ms = LIMITS.nonce_ttl_s * 1_000
        pipeline = self._redis.pipeline(transaction=False)
        for bet in give_back:
            pipeline.delete(bet.key)
        for bet, refusal in refused:
            pipeline.set(bet.key, _REFUSED + _encode((bet.digest, refusal)), px=ttl_ms)
        if len(pipeline):
            try:
                self._ask(pipeline.execute)
            except DependencyError:
                return

    def _ask(self, question: Any) -> Any:
        if clock.monotonic_us() < self._away_until_us:
            raise DependencyError("Redis is away")
        try:
            return question()
        except redis.RedisError as error:
            self._away_until_us = clock.monotonic_us() + _PAUSE_US
            raise DependencyError(f"Redis is away: {error}") from error


def _remembered(stored: bytes, digest: int) -> Refusal | None:
    """The refusal that the same request was given before."""
    try:
        of, refusal = _decode(stored)
    except msgspec.MsgspecError:  # of another version of this program
        return None
    if of != digest:
        return None
    message = f"{refusal.sentence} It was refused before: sign it again with a new nonce."
    return Refusal(refusal.code, {**refusal.detail, "repeated": True}, message)
