"""A player's own limits on stake and loss, cool-off and self-exclusion, and what they refuse.

A loss is what the bets accepted in a UTC day, or in a week from Monday 00:00 UTC, have cost so
far: their stakes less what they paid or gave back. Open bets count as lost, so bets placed side by
side cannot come to more than the limit; what is won raises the room for further bets.
Pure but for `load`, `load_one` and `save`, which are handed their cursor.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet.ids import minted_ms

US_PER_DAY: Final = 86_400 * clock.US_PER_S
_MS_PER_DAY: Final = 86_400_000

STAKE: Final = "stake_max_micros"
LOSS_DAY: Final = "loss_day_max_micros"
LOSS_WEEK: Final = "loss_week_max_micros"
AMOUNTS: Final = (STAKE, LOSS_DAY, LOSS_WEEK)
COOL_OFF: Final = "cool_off_until"
EXCLUSION: Final = "excluded_until"


class Limit(NamedTuple):
    """`micros` None: no limit. From `next_at_us` on, unless that is None, `next_micros` holds."""

    micros: int | None = None
    next_micros: int | None = None
    next_at_us: int | None = None

    def at(self, now_us: int) -> "Limit":
        """The same, without a raise that has come due."""
        if self.next_at_us is not None and self.next_at_us <= now_us:
            return Limit(self.next_micros)
        return self

    def asked(self, micros: int | None, now_us: int) -> "Limit":
        """What is asked for: less holds at once, more after a wait. To ask again for a raise, or
        for less of it, does not begin the wait anew."""
        now = self.at(now_us)
        if _at_most(micros, now.micros):
            return Limit(micros)
        if now.next_at_us is not None and _at_most(micros, now.next_micros):
            return now._replace(next_micros=micros)
        return Limit(now.micros, micros, now_us + LIMITS.player_raise_wait_s * clock.US_PER_S)


def _at_most(micros: int | None, other: int | None) -> bool:
    return other is None or (micros is not None and micros <= other)


def day_of(at_us: int) -> int:
    return at_us // US_PER_DAY


def week_of_day(day: int) -> int:
    return (day + 3) // 7  # the first day of 1970 was a Thursday


def first_day(week: int) -> int:
    return week * 7 - 3


class Guard(msgspec.Struct, array_like=True):
    """A row of PlayerLimits, its fields in the order of COLUMNS. `day` and `week` number those
    that the losses are of, from 1970 on."""

    wallet_id: int
    stake_micros: int | None = None
    stake_next_micros: int | None = None
    stake_next_at: int | None = None
    loss_day_micros: int | None = None
    loss_day_next_micros: int | None = None
    loss_day_next_at: int | None = None
    loss_week_micros: int | None = None
    loss_week_next_micros: int | None = None
    loss_week_next_at: int | None = None
    cool_off_until: int | None = None
    excluded_until: int | None = None
    day: int = 0
    lost_in_day_micros: int = 0
    week: int = 0
    lost_in_week_micros: int = 0

    # What stands.

    def limit(self, name: str) -> Limit:
        if name == STAKE:
            return Limit(self.stake_micros, self.stake_next_micros, self.stake_next_at)
        if name == LOSS_DAY:
            return Limit(self.loss_day_micros, self.loss_day_next_micros, self.loss_day_next_at)
        return Limit(self.loss_week_micros, self.loss_week_next_micros, self.loss_week_next_at)

    def set_limit(self, name: str, limit: Limit) -> None:
        if name == STAKE:
            self.stake_micros, self.stake_next_micros, self.stake_next_at = limit
        elif name == LOSS_DAY:
            self.loss_day_micros, self.loss_day_next_micros, self.loss_day_next_at = limit
        else:
            self.loss_week_micros, self.loss_week_next_micros, self.loss_week_next_at = limit

    def lost_micros(self, name: str, now_us: int) -> int:
        """In the day or week of `now_us`; below zero: won."""
        day = day_of(now_us)
        if name == LOSS_DAY:
            return self.lost_in_day_micros if day <= self.day else 0
        return self.lost_in_week_micros if week_of_day(day) <= self.week else 0

    # What happens.

    def count(self, bet_id: int, micros: int) -> None:
        """A stake of this bet, or with a minus what it paid or gave back. It counts in the day
        and week in which the bet was accepted, or no more once those are over."""
        day = minted_ms(bet_id) // _MS_PER_DAY
        week = week_of_day(day)
        if day > self.day:
            self.day, self.lost_in_day_micros = day, 0
        if week > self.week:
            self.week, self.lost_in_week_micros = week, 0
        if day == self.day:
            self.lost_in_day_micros += micros
        if week == self.week:
            self.lost_in_week_micros += micros

    def refusal(self, stake_micros: int, now_us: int) -> Refusal | None:
        """Why the player does not want this bet to be taken now."""
        for name, until_us in ((EXCLUSION, self.excluded_until), (COOL_OFF, self.cool_off_until)):
            if until_us is not None and until_us > now_us:
                return Refusal("player_limit", {"limit": name, "until": clock.iso_ms(until_us)})
        most = self.limit(STAKE).at(now_us).micros
        if most is not None and stake_micros > most:
            return Refusal("player_limit", {"limit": STAKE, "limit_micros": most})
        for name in (LOSS_DAY, LOSS_WEEK):
            most = self.limit(name).at(now_us).micros
            if most is None:
                continue
            room = most - self.lost_micros(name, now_us)
            if stake_micros > room:
                return Refusal(
                    "player_limit",
                    {
                        "limit": name,
                        "limit_micros": most,
                        "room_micros": max(0, room),
                        "until": clock.iso_ms(ends_us(name, now_us)),
                    },
                )
        return None


def ends_us(name: str, now_us: int) -> int:
    """When the day or the week of `now_us` is over."""
    day = day_of(now_us)
    return (day + 1 if name == LOSS_DAY else first_day(week_of_day(day) + 1)) * US_PER_DAY


COLUMNS: Final = Guard.__struct_fields__
_READ: Final = f"SELECT {', '.join(COLUMNS)} FROM wallet_playerlimits WHERE wallet_id"  # noqa: S608
_LOAD: Final = f"{_READ} IN (SELECT value FROM json_each(%s))"  # noqa: S608
_SAVE: Final = (
    f"INSERT INTO wallet_playerlimits ({', '.join(COLUMNS)})"  # noqa: S608
    f" VALUES ({', '.join(['%s'] * len(COLUMNS))}) ON CONFLICT (wallet_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
)


def load(cursor: Any, wallet_ids: list[int]) -> list[Guard]:
    """Those of these wallets that have limits, or had."""
    cursor.execute(_LOAD, [msgspec.json.encode(wallet_ids).decode()])
    return [Guard(*row) for row in cursor.fetchall()]


def load_one(cursor: Any, wallet_id: int) -> Guard | None:
    cursor.execute(f"{_READ} = %s", [wallet_id])
    row = cursor.fetchone()
    return Guard(*row) if row else None


def save(cursor: Any, guards: Iterable[Guard]) -> None:
    cursor.executemany(_SAVE, [msgspec.structs.astuple(guard) for guard in guards])
