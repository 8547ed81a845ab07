"""Which backups stay: all of the last days, then one a day, then one a month. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from taptrading.limits import LIMITS


class Rule(NamedTuple):
    hours: int = LIMITS.backup_keep_hours
    days: int = LIMITS.backup_keep_days
    months: int = LIMITS.backup_keep_months


def kept(taken: Iterable[datetime], now: datetime, rule: Rule = Rule()) -> set[datetime]:  # noqa: B008
    """Those of the last hours, the newest of each of the last days and of the last months that
    have one; and the newest of all, however old it is."""
    newest_first = sorted(taken, reverse=True)
    stays = set(newest_first[:1])
    stays |= {at for at in newest_first if at > now - timedelta(hours=rule.hours)}
    stays |= _newest_of_each(newest_first, "%Y-%m-%d", rule.days)
    return stays | _newest_of_each(newest_first, "%Y-%m", rule.months)


def _newest_of_each(newest_first: list[datetime], period: str, count: int) -> set[datetime]:
    newest: dict[str, datetime] = {}
    for at in newest_first:
        newest.setdefault(at.strftime(period), at)
    return set(list(newest.values())[:count])
