"""Admission of signed bets: each wallet's rate limit and its nonces, one Redis round trip a batch.

A nonce is claimed for 90 s before the batch and given back when the refusal invites a retry
(429, 503). Any other refusal is remembered in its place, so that the same request sent again is
answered the same way instead of becoming a bet after its trader was told that it was refused.
Another request with that nonce is another bet, which its trader signed anew: it has a key of its
own, or the one would be forgotten for the other.
The database's UNIQUE (wallet, nonce) has the last word; Redis only spares it the question.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import redis
from django.conf import settings

from taptrading import clock
from taptrading.errors import DependencyError, Refusal
from taptrading.limits import LIMITS

# GCRA: one number a wallet, the time at which its bucket is full again, in microseconds.
# Each bet's answer is the place of its word (0: none, -1: over the limit), remaining, wait.
_ADMIT: Final = """
local now, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ttl, node, bets = ARGV[4], ARGV[5], cmsgpack.unpack(ARGV[6])
local call, ceil, floor, max, format = redis.call, math.ceil, math.floor, math.max, string.format
local answers, words = {}, {}
for i = 1, #bets, 2 do
  local rate = 'tap:rate:' .. bets[i]
  local after = max(tonumber(call('GET', rate) or '0'), now) + interval
  local spare = burst * interval - (after - now)
  if spare < 0 then
    answers[(i + 1) / 2] = {-1, 0, ceil(-spare)}
  else
    local px = max(1, ceil((after - now) / 1000))
    call('SET', rate, format('%.0f', after), 'PX', px)
    local nonce = 'tap:nonce:' .. bets[i] .. ':' .. bets[i + 1]
    local word = 0
    if not call('SET', nonce, node, 'NX', 'PX', ttl) then
      word = #words + 1
      words[word] = call('GET', nonce)
    end
    answers[(i + 1) / 2] = {word, floor(spare / interval), ceil(after - now)}
  end
end
return {cmsgpack.pack(answers), words}
"""

_REFUSED: Final = b"!"
_PAUSE_US: Final = 500_000
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_answers: Final = msgspec.msgpack.Decoder(list[tuple[int, int, int]]).decode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, Refusal]).decode


class Claim(Protocol):
    """A bet's nonce. `digest` tells its request from others with the same nonce."""

    @property
    def wallet_id(self) -> int: ...

    @property
    def nonce(self) -> str: ...

    @property
    def digest(self) -> int: ...


def _request(bet: Claim) -> str:
    return f"{bet.nonce}:{bet.digest:x}"


def _key(bet: Claim) -> str:
    return f"tap:nonce:{bet.wallet_id}:{_request(bet)}"


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
        head = (now_us, interval_us, LIMITS.bet_burst, LIMITS.nonce_ttl_s * 1_000, self._node)
        # Ids as text: numbers are floating-point ones over there.
        packed = _encode([part for bet in bets for part in (str(bet.wallet_id), _request(bet))])
        answers, words = self._ask(lambda: self._script(args=[*head, packed]))
        return [
            self._admitted(bet, words[word - 1], remaining, wait_us)
            if word > 0
            else Admitted(_limited(wait_us) if word else None, remaining, wait_us)
            for bet, (word, remaining, wait_us) in zip(bets, _decode_answers(answers), strict=True)
        ]

    def _admitted(self, bet: Claim, word: bytes, remaining: int, wait_us: int) -> Admitted:
        if word.startswith(_REFUSED):
            return Admitted(_remembered(word[1:], bet), remaining, wait_us)
        # Ours from before a crash, or another node's: the database knows.
        return Admitted(None, remaining, wait_us)

    def settle(self, give_back: Iterable[Claim], refused: Iterable[tuple[Claim, Refusal]]) -> None:
        """After the batch: free these nonces, remember those refusals. Never raises: what is not
        given back expires by itself."""
        ttl_ms = LIMITS.nonce_ttl_s * 1_000
        pipeline = self._redis.pipeline(transaction=False)
        for bet in give_back:
            pipeline.delete(_key(bet))
        for bet, refusal in refused:
            pipeline.set(_key(bet), _REFUSED + _encode((bet.digest, refusal)), px=ttl_ms)
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


def _limited(wait_us: int) -> Refusal:
    return Refusal("rate_limited", {"retry_after_ms": -(-wait_us // 1_000)})


def _remembered(stored: bytes, bet: Claim) -> Refusal | None:
    """The refusal that the same request was given before."""
    try:
        of, refusal = _decode(stored)
    except msgspec.MsgspecError:  # of another version of this program
        return None
    return repeated(refusal) if of == bet.digest else None


def repeated(refusal: Refusal) -> Refusal:
    """What the same request is told when it comes again."""
    message = f"{refusal.sentence} It was refused before: sign it again with a new nonce."
    return Refusal(refusal.code, {**refusal.detail, "repeated": True}, message)
