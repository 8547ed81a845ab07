"""Admission of signed bets: each wallet's rate limit and its nonces.

The limits are in this process's memory, for there is one writer: when it starts, every wallet has
its whole burst again. Nonces are in Redis, which must not forget them with us: one round trip a
batch. One is claimed for 90 s before the batch and given back when the refusal invites a retry
(429, 503). Any other refusal is remembered in its place, so that the same request sent again is
answered the same way instead of becoming a bet after its trader was told that it was refused.
Another request with that nonce is another bet, which its trader signed anew: it has a key of its
own, or the one would be forgotten for the other.
The database's UNIQUE (wallet, nonce) has the last word; Redis only spares it the question.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import redis
from django.conf import settings
from redis.commands.core import DataPersistOptions

from taptrading import clock
from taptrading.errors import DependencyError, Refusal
from taptrading.limits import LIMITS

# MSETEX claims all nonces of a batch for half the time that this takes, but only if all are free,
# and Redis has it since 8.4, Valkey since 9.1.
_CLAIM: Final = """
local node, ttl, keys = ARGV[1], ARGV[2], cmsgpack.unpack(ARGV[3])
local call, taken = redis.call, {}
for i = 1, #keys do
  if not call('SET', keys[i], node, 'NX', 'PX', ttl) then
    taken[#taken + 1] = i
    taken[#taken + 1] = call('GET', keys[i])
  end
end
return taken
"""

_REFUSED: Final = b"!"
_PAUSE_US: Final = 500_000
WALLETS_MAX: Final = 100_000
UNTOLD_MAX: Final = 10_000
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, Refusal]).decode


class Claim(Protocol):
    """A bet's nonce. `digest` tells its request from others with the same nonce."""

    @property
    def wallet_id(self) -> int: ...

    @property
    def nonce(self) -> str: ...

    @property
    def digest(self) -> int: ...


def _key(bet: Claim) -> str:
    return f"tap:nonce:{bet.wallet_id}:{bet.nonce}:{bet.digest:x}"


class Admitted(NamedTuple):
    """What is said of one bet: `refusal` None lets it in. `wait_us` is until the bucket is
    full again, or, when the bet is over the limit, until the next one is admitted."""

    refusal: Refusal | None
    remaining: int
    wait_us: int


class Buckets:
    """Each wallet's tokens: it may place `bet_burst` bets at once and gets `bet_rate_per_s` new
    ones a second.

    GCRA: one number a wallet, the time at which its bucket is full again. A full one needs none.
    At most `wallets_max` are kept: the one that gave a token longest ago is forgotten first.
    """

    def __init__(self, wallets_max: int = WALLETS_MAX) -> None:
        self._wallets_max = wallets_max
        self._full_at_us: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at_us)

    def look(self, bets: Iterable[Claim], now_us: int) -> tuple[list[Admitted], dict[int, int]]:
        """What each bet in turn is told, and what `keep` has to be told to take these tokens."""
        interval_us = 1_000_000 / max(LIMITS.bet_rate_per_s, 1)
        size_us = LIMITS.bet_burst * interval_us
        answers: list[Admitted] = []
        full_at_us: dict[int, int] = {}
        for bet in bets:
            wallet_id = bet.wallet_id
            before_us = full_at_us.get(wallet_id) or self._full_at_us.get(wallet_id, 0)
            after_us = max(before_us, now_us) + interval_us
            wait_us = after_us - now_us
            spare_us = size_us - wait_us
            if spare_us < 0:
                answers.append(_limited(ceil(-spare_us)))
            else:
                full_at_us[wallet_id] = round(after_us)
                answers.append(Admitted(None, int(spare_us // interval_us), ceil(wait_us)))
        return answers, full_at_us

    def keep(self, full_at_us: dict[int, int], now_us: int) -> None:
        buckets = self._full_at_us
        for wallet_id, at_us in full_at_us.items():
            buckets[wallet_id] = at_us
            buckets.move_to_end(wallet_id)
        while buckets and (
            len(buckets) > self._wallets_max or next(iter(buckets.values())) <= now_us
        ):
            buckets.popitem(last=False)


class Nonces:
    """Blocking, with short time-outs. A server that is away is not asked again for half a second,
    so that a dead one does not hold up pricing and settlement."""

    def __init__(self, client: "redis.Redis | None" = None, *, node: int = 0) -> None:
        self._redis = client or redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5
        )
        self._script = self._redis.register_script(_CLAIM)
        self._node = f"node:{node}"
        self._buckets = Buckets()
        self._sets_many = True
        self._away_until_us = 0
        # Refusals that Redis could not be told of yet: it went away during their batch.
        self._untold: dict[str, bytes] = {}

    def admit(self, bets: Sequence[Claim], now_us: int) -> list[Admitted]:
        """What there is to say of each, in order. Raises DependencyError, with no token taken."""
        answers, full_at_us = self._buckets.look(bets, now_us)
        within = [place for place, answer in enumerate(answers) if answer.refusal is None]
        words = self._ask(lambda: self._claim([_key(bets[place]) for place in within]))
        self._buckets.keep(full_at_us, now_us)
        for claimed, word in words:
            # Another word is ours from before a crash, or another node's: the database knows.
            if word.startswith(_REFUSED):
                place = within[claimed - 1]
                before = _remembered(word[1:], bets[place])
                answers[place] = answers[place]._replace(refusal=before)
        if self._untold:
            self._remember_untold(bets, within, answers)
        return answers

    def _remember_untold(
        self, bets: Sequence[Claim], within: list[int], answers: list[Admitted]
    ) -> None:
        for place in within:
            word = self._untold.get(_key(bets[place]))
            if word is not None:
                before = _remembered(word[1:], bets[place])
                answers[place] = answers[place]._replace(refusal=before)
        self.settle([], [])

    def _claim(self, keys: list[str]) -> list[tuple[int, bytes]]:
        """Claim the nonces that are free. Of the others, the place, from 1, and what stands
        there."""
        ttl_ms = LIMITS.nonce_ttl_s * 1_000
        if keys and self._sets_many:
            claims = dict.fromkeys(keys, self._node)
            try:
                if self._redis.msetex(claims, DataPersistOptions.NX, px=ttl_ms):
                    return []
            except redis.ResponseError as error:
                if "unknown command" not in str(error):
                    raise
                self._sets_many = False
        found = self._script(args=[self._node, ttl_ms, _encode(keys)])
        return list(zip(found[::2], found[1::2], strict=True))

    def settle(self, give_back: Iterable[Claim], refused: Iterable[tuple[Claim, Refusal]]) -> None:
        """After the batch: free these nonces, remember those refusals. Never raises: what is not
        given back expires by itself, and refusals that Redis does not take are told it again."""
        ttl_ms = LIMITS.nonce_ttl_s * 1_000
        pipeline = self._redis.pipeline(transaction=False)
        for bet in give_back:
            pipeline.delete(_key(bet))
        words = dict(self._untold)
        for bet, refusal in refused:
            words[_key(bet)] = _REFUSED + _encode((bet.digest, refusal))
        for key, word in words.items():
            pipeline.set(key, word, px=ttl_ms)
        if len(pipeline):
            try:
                self._ask(pipeline.execute)
            except DependencyError:
                self._untold = dict(list(words.items())[-UNTOLD_MAX:])
            else:
                self._untold = {}

    def _ask(self, question: Any) -> Any:
        if clock.monotonic_us() < self._away_until_us:
            raise DependencyError("Redis is away")
        try:
            return question()
        except redis.RedisError as error:
            self._away_until_us = clock.monotonic_us() + _PAUSE_US
            raise DependencyError(f"Redis is away: {error}") from error


def _limited(wait_us: int) -> Admitted:
    detail = {"retry_after_ms": -(-wait_us // 1_000)}
    return Admitted(Refusal("rate_limited", detail), 0, wait_us)


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
