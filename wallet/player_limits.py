"""Set a player's own limits, cool-off and self-exclusion: the command and its handler.

Less holds at once and more after a wait; a cool-off or an exclusion can be made longer, but nobody,
staff included, can end one early. Nothing here keeps anyone from signing in or withdrawing.
"""

from copy import copy
from typing import Any, Final

from django.db import connection

from taptrading import audit, clock
from taptrading.audit import Note
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet import guard
from wallet.book import Account, Book
from wallet.events import Told
from wallet.guard import AMOUNTS, COOL_OFF, EXCLUSION, Guard, day_of, first_day, week_of_day
from wallet.ids import first_id_at
from wallet.protocol import Command, Done, Outcome

Wanted = dict[str, int | None]

# What a wallet's bets of this week have cost so far, those of today apart. Read once a wallet.
_LOST: Final = """
SELECT coalesce(sum(CASE WHEN bet_id >= %s THEN micros END), 0), coalesce(sum(micros), 0) FROM (
  SELECT CAST(substr(reference, 5) AS BIGINT) AS bet_id, amount_micros AS micros
    FROM wallet_ledgerentry WHERE debit_wallet_id = %s AND id >= %s AND kind = 'STAKE'
  UNION ALL
  SELECT CAST(substr(reference, 5) AS BIGINT), -amount_micros
    FROM wallet_ledgerentry WHERE credit_wallet_id = %s AND id >= %s
    AND kind IN ('PAYOUT', 'REFUND')
) AS moved WHERE bet_id >= %s
"""
_MARK: Final = "UPDATE wallet_wallet SET guarded = true WHERE id = %s"


class SetPlayerLimits(Command, frozen=True, tag="set_player_limits"):
    """`wanted` by the names of wallet.guard: amounts in micros, None for no limit; `_until` in
    microseconds since the epoch, None for none. What is not named stays as it is."""

    wallet_id: int
    wanted: Wanted


class PlayerLimitsHandler:
    """Stands before the game's handlers: what they move must reach a guard that is new."""

    commands = (SetPlayerLimits,)

    def begin(self, commands: list[Command]) -> "PlayerLimitsWork":
        return PlayerLimitsWork([c for c in commands if isinstance(c, SetPlayerLimits)])

    def due(self, now_us: int) -> list[Command]:
        return []

    def largest_id(self) -> int:
        return 0


class PlayerLimitsWork:
    def __init__(self, commands: list[SetPlayerLimits]) -> None:
        self._wallet_ids = {command.wallet_id for command in commands}

    def admit(self) -> None:
        """Nothing outside the database has a say."""

    def prefetch(self, book: Book) -> None:
        self._book = book
        self._new: list[int] = []
        self._notes: list[Note] = []
        book.load(self._wallet_ids)
        self._fresh = {
            account.id: self._first_guard(account.id)
            for wallet_id in self._wallet_ids
            if (account := book.get(wallet_id)) is not None and account.guard is None
        }

    def _first_guard(self, wallet_id: int) -> Guard:
        """Without limits, with what was lost before there were any."""
        day = day_of(self._book.now_us)
        week = week_of_day(day)
        today = first_id_at(day * guard.US_PER_DAY)
        this_week = first_id_at(first_day(week) * guard.US_PER_DAY)
        cursor = self._book.cursor
        cursor.execute(_LOST, [today, wallet_id, this_week, wallet_id, this_week, this_week])
        in_day, in_week = map(int, cursor.fetchone())
        return Guard(
            wallet_id, day=day, lost_in_day_micros=in_day, week=week, lost_in_week_micros=in_week
        )

    def decide(self, command: Command) -> Outcome:
        assert isinstance(command, SetPlayerLimits)
        account = self._book.get(command.wallet_id)
        if account is None or account.kind != "player":
            return Refusal("not_found")
        before = account.guard or self._fresh[account.id]
        now_us = self._book.now_us
        after = changed(before, command.wanted, now_us)
        if isinstance(after, Refusal):
            return after
        if after != before:
            self._keep(account, before, after)
        return Done(account.id)

    def _keep(self, account: Account, before: Guard, after: Guard) -> None:
        if account.guard is None:
            self._new.append(account.id)
        account.guard = after
        self._book.change(account)
        old, new = told(before), told(after)
        different = [name for name in new if old[name] != new[name]]
        self._notes.append(
            Note(
                "player_limits.changed",
                f"wallet:{account.id}",
                {name: old[name] for name in different},
                {name: new[name] for name in different},
                actor=f"wallet:{account.id}",
                at_us=self._book.now_us,
            )
        )

    def persist(self) -> None:
        """The rows themselves are written with the wallets, by the book."""
        if self._new:
            self._book.cursor.executemany(_MARK, [[wallet_id] for wallet_id in self._new])
        audit.record_all(self._notes)

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        return []


def changed(before: Guard, wanted: Wanted, now_us: int) -> Guard | Refusal:
    """The guard with all that is wanted, or why it cannot be. Pure; `before` stays as it is."""
    after = copy(before)
    for name in AMOUNTS:
        if name in wanted:
            after.set_limit(name, before.limit(name).asked(wanted[name], now_us))
    for name in (COOL_OFF, EXCLUSION):
        if name in wanted:
            refusal = _against_until(name, getattr(before, name), wanted[name], now_us)
            if refusal is not None:
                return refusal
            if wanted[name] is not None:
                setattr(after, name, wanted[name])
    return after


def _against_until(
    name: str, held_us: int | None, asked_us: int | None, now_us: int
) -> Refusal | None:
    """What stands against ending a cool-off or an exclusion then. To ask for what is there
    already is never wrong."""
    if asked_us == held_us:
        return None
    if held_us is not None and held_us > now_us and (asked_us is None or asked_us < held_us):
        until = {"field": name, "until": clock.iso_ms(held_us)}
        return Refusal("forbidden", until, "This can be made longer, but it cannot end early.")
    if asked_us is None:
        return None
    exclusion = name == EXCLUSION
    least_s = LIMITS.player_exclusion_min_s if exclusion else 0
    most_s = LIMITS.player_exclusion_max_s if exclusion else LIMITS.player_cool_off_max_s
    longer = held_us is not None and held_us > now_us  # of what has its least length already
    least_us = now_us if longer else now_us + least_s * clock.US_PER_S
    most_us = now_us + most_s * clock.US_PER_S
    if asked_us <= now_us or not least_us <= asked_us <= most_us:
        span = {"field": name, "from": clock.iso_ms(least_us), "to": clock.iso_ms(most_us)}
        return Refusal("invalid_request", span, f"`{name}` must lie between these two times.")
    return None


def told(found: Guard) -> dict[str, Any]:
    """What a player has set, for the audit log."""
    said: dict[str, Any] = {}
    for name in AMOUNTS:
        limit = found.limit(name)
        said[name] = limit.micros
        said[f"{name}_next"] = None
        if limit.next_at_us is not None:
            raised = {"micros": limit.next_micros, "effective_at": clock.iso_ms(limit.next_at_us)}
            said[f"{name}_next"] = raised
    for name in (COOL_OFF, EXCLUSION):
        until_us = getattr(found, name)
        said[name] = None if until_us is None else clock.iso_ms(until_us)
    return said


def read(wallet_id: int) -> dict[str, Any]:
    """`player-limits` of the wallet as it stands now."""
    with connection.cursor() as cursor:
        found = guard.load_one(cursor, wallet_id)
    return shown(found, clock.now_us())


def shown(found: Guard | None, now_us: int) -> dict[str, Any]:
    """`player-limits` as a client sees it."""
    limits = {name: (found.limit(name) if found else guard.Limit()).at(now_us) for name in AMOUNTS}
    pending = [
        {
            "limit": name,
            "micros": limit.next_micros,
            "effective_at": clock.iso_ms(limit.next_at_us),
        }
        for name, limit in limits.items()
        if limit.next_at_us is not None
    ]
    return {
        **{name: limit.micros for name, limit in limits.items()},
        "pending": pending,
        "loss_day_micros": found.lost_micros(guard.LOSS_DAY, now_us) if found else None,
        "loss_week_micros": found.lost_micros(guard.LOSS_WEEK, now_us) if found else None,
        "day_ends_at": clock.iso_ms(guard.ends_us(guard.LOSS_DAY, now_us)),
        "week_ends_at": clock.iso_ms(guard.ends_us(guard.LOSS_WEEK, now_us)),
        COOL_OFF: _until(found.cool_off_until if found else None, now_us),
        EXCLUSION: _until(found.excluded_until if found else None, now_us),
    }


def _until(us: int | None, now_us: int) -> str | None:
    return clock.iso_ms(us) if us is not None and us > now_us else None
