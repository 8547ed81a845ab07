"""This process's memory of the price feed: newest tick, breaker, override.

The hot path reads it without I/O. It is fed by the hub (kind "feed") and, at start, from the
Redis key of the same bytes. Nothing here asks for the time: callers hand it in.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from pricefeed.ticks import NANOS_PER_CENT
from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS

FEED_KIND: Final = "feed"
FEED_KEY: Final = "tap:feed"

CLOSED: Final = "closed"
DEGRADED: Final = "degraded"
OPEN: Final = "open"
_BADNESS: Final = (CLOSED, DEGRADED, OPEN)
_GOOD_MS: Final = min(LIMITS.quote_age_ms, LIMITS.breaker_open_ms)


class TickRecord(msgspec.Struct, array_like=True, frozen=True):
    """One recorded index tick, as `pricefeed.models.Tick` holds it."""

    seq: int
    at_ms: int
    price_cents: int
    sigma_ppm: int
    overshoot_e12: int
    sources: str


class FeedState(msgspec.Struct, array_like=True, frozen=True):
    """What the feed publishes on every tick and on every change of the breaker."""

    tick: TickRecord | None
    breaker: str = OPEN
    override: str = "auto"
    reason: str = ""


class SourceState(msgspec.Struct, frozen=True):
    """One source as the feed sees it; nulls: not heard from on its present connection."""

    name: str
    age_ms: int | None = None
    price_cents: int | None = None

    @classmethod
    def of(cls, name: str, heard: tuple[int, int | None] | None) -> "SourceState":
        if heard is None:
            return cls(name)
        age_us, nanos = heard
        cents = None if nanos is None else nanos // NANOS_PER_CENT
        return cls(name, max(0, age_us) // clock.US_PER_MS, cents)


# What the feed tells of its sources every second, for operators; gone with the feed.
SOURCES_KEY: Final = "tap:feed:sources"
SOURCES_KEPT_S: Final = 5
encode_sources: Final = msgspec.json.Encoder().encode
decode_sources: Final = msgspec.json.Decoder(list[SourceState]).decode

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(FeedState).decode


def encode(state: FeedState) -> bytes:
    return _encode(state)


def decode(payload: bytes) -> FeedState:
    """Raises msgspec.DecodeError."""
    return _decode(payload)


def breaker_by_age(age_ms: int | None) -> str:
    """What the age of the index alone says; no index at all is open."""
    if age_ms is None or age_ms > LIMITS.breaker_open_ms:
        return OPEN
    return DEGRADED if age_ms > LIMITS.breaker_degraded_ms else CLOSED


class Board:
    def __init__(self) -> None:
        self.tick: TickRecord | None = None
        self.published: str = OPEN
        self.override: str = "auto"
        self.reason: str = "no price yet"
        self.listeners: list[Callable[[FeedState], None]] = []

    def receive(self, payload: bytes) -> None:
        """`apply` for bytes: the hub's callback. Raises msgspec.DecodeError."""
        self.apply(_decode(payload))

    def apply(self, state: FeedState) -> None:
        """Take what was published. A tick older than the one held is not taken: the stored
        state, read at start, may be overtaken by the first message."""
        if state.tick and self.tick and state.tick.at_ms < self.tick.at_ms:
            return
        self.tick = state.tick
        self.published = state.breaker
        self.override = state.override
        self.reason = state.reason
        for listener in self.listeners:
            listener(state)

    def age_ms(self, now_ms: int) -> int | None:
        """Age of the newest tick; None before the first."""
        return None if self.tick is None else max(0, now_ms - self.tick.at_ms)

    def breaker(self, now_ms: int) -> str:
        """The worse of what the feed said and what the age says: a dead feed says nothing."""
        return max(self.published, breaker_by_age(self.age_ms(now_ms)), key=_BADNESS.index)

    def refusal(self, now_ms: int) -> Refusal | None:
        """Why no bet can be taken at this instant, in order of precedence, or None."""
        tick = self.tick
        if (
            tick is not None
            and self.published != OPEN
            and tick.at_ms <= now_ms <= tick.at_ms + _GOOD_MS
        ):
            return None  # as nearly always, and asked for every bet
        age_ms = self.age_ms(now_ms)
        if self.breaker(now_ms) == OPEN:
            return Refusal("breaker_open", {"reason": self._reason(now_ms), "age_ms": age_ms})
        if age_ms is None or age_ms > LIMITS.quote_age_ms or self._is_ahead(now_ms):
            return Refusal("price_stale", {"age_ms": age_ms})
        return None

    def _is_ahead(self, now_ms: int) -> bool:
        """Whether a bet of this instant could be priced by a tick that everybody has seen: the
        feed's time goes on when a clock is set back."""
        ahead_ms = 0 if self.tick is None else self.tick.at_ms - now_ms
        return ahead_ms > 0 and ahead_ms >= LIMITS.pricing_delay_ms

    def price_json(self, now_ms: int) -> dict[str, object] | None:
        """The contract's price; None before the first tick."""
        tick = self.tick
        if tick is None:
            return None
        return {
            "price_cents": tick.price_cents,
            "at": clock.iso_ms(tick.at_ms * clock.US_PER_MS),
            "seq": tick.seq,
            "age_ms": self.age_ms(now_ms),
        }

    def status_json(self, now_us: int) -> dict[str, object]:
        """The contract's status."""
        now_ms = now_us // clock.US_PER_MS
        return {
            "breaker": self.breaker(now_ms),
            "override": self.override,
            "reason": self._reason(now_ms),
            "price_age_ms": self.age_ms(now_ms),
            "server_time": clock.iso_ms(now_us),
        }

    def _reason(self, now_ms: int) -> str:
        if self.reason or breaker_by_age(self.age_ms(now_ms)) == CLOSED:
            return self.reason
        return "the index price is old"


board: Final = Board()
