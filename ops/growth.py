"""How fast the disk fills: measured bytes a bet, times bets a day, against the room there is.

What a bet costs is what the ledger's file holds, free pages aside, for each bet in it: its row, its
entries, its share of seals, columns and indexes. A week of it stays, and the archive takes the week
before that on Sundays, so the disk has to hold two weeks; then segments stand at hand for four.
"""

from typing import Any, Final, NamedTuple

from django.db import connection, connections
from django.db.models import Sum
from prometheus_client import Gauge

from taptrading import clock, disk
from taptrading.databases import PRICES
from taptrading.disk import Room
from taptrading.limits import LIMITS
from taptrading.rows import fetch
from wallet import ids
from wallet.models import Segment

DAY_S: Final = 86_400
LEAST_BETS: Final = 1_000
# Until there are so many bets to measure by, what a long past was measured to take.
BYTES_A_BET: Final = 1_000
_ARCHIVED_EVERY_S: Final = 7 * DAY_S

BYTES_PER_BET: Final = Gauge(
    "ledger_bytes_per_bet",
    "What the ledger's file holds for each bet in it",
    multiprocess_mode="mostrecent",
)
PER_DAY: Final = Gauge(
    "ledger_growth_bytes_per_day",
    "By how much the ledger's file grows a day, at the bets of the last day",
    multiprocess_mode="mostrecent",
)
PROJECTED: Final = Gauge(
    "projected_disk_used_ratio",
    "How full the disk gets at the bets of the last day, archived weekly",
    multiprocess_mode="mostrecent",
)
DAYS_LEFT: Final = Gauge(
    "disk_days_left",
    "Days until bets are refused at the bets of the last day, if nothing is archived",
    multiprocess_mode="mostrecent",
)


class Growth(NamedTuple):
    """Bytes are of this machine's disk. `segment_bytes_a_bet`: of a segment that stands at hand;
    the ledger's own until there is one."""

    bets: int
    bets_a_day: int
    ledger_bytes: int
    prices_bytes: int
    bytes_a_bet: int
    segment_bytes_a_bet: int
    room: Room

    @property
    def bytes_a_day(self) -> int:
        return self.bets_a_day * self.bytes_a_bet

    @property
    def projected_bytes(self) -> int:
        """Used in the long run: the ledger just before a Sunday's archive, segments at hand, and
        whatever else is on the disk now."""
        kept_s = LIMITS.archive_after_s + _ARCHIVED_EVERY_S
        ledger = self.bytes_a_day * kept_s // DAY_S
        shelf = self.bets_a_day * self.segment_bytes_a_bet * LIMITS.segment_local_s // DAY_S
        return self.room.used_bytes + max(0, ledger + shelf - self.ledger_bytes)

    @property
    def projected_ratio(self) -> float:
        return self.projected_bytes / max(1, self.room.used_bytes + self.room.free_bytes)

    @property
    def days_left(self) -> float | None:
        """None: it does not grow."""
        left = max(0, self.room.spare_bytes)
        return left / self.bytes_a_day if self.bytes_a_day else None


def measure() -> Growth:
    """Raises OSError or django.db.Error. SQLite only: a server's disk is its own."""
    ((bets,),) = fetch("SELECT count(*) FROM bets_bet", [])
    since = ids.first_id_at(clock.now_us() - DAY_S * clock.US_PER_S)
    ((bets_a_day,),) = fetch("SELECT count(*) FROM bets_bet WHERE id >= %s", [since])
    ledger_bytes = _held_in("default")
    bytes_a_bet = ledger_bytes // bets if bets >= LEAST_BETS else BYTES_A_BET
    return Growth(
        bets=bets,
        bets_a_day=bets_a_day,
        ledger_bytes=ledger_bytes,
        prices_bytes=_held_in(PRICES),
        bytes_a_bet=bytes_a_bet,
        segment_bytes_a_bet=_of_segments() or bytes_a_bet,
        room=disk.room(),
    )


def _held_in(alias: str) -> int:
    """Bytes of the file's pages that hold something."""
    with connections[alias].cursor() as cursor:
        found = []
        for name in ("page_count", "freelist_count", "page_size"):
            cursor.execute(f"PRAGMA {name}")
            found.append(int(cursor.fetchone()[0]))
    pages, free, size = found
    return (pages - free) * size


def _of_segments() -> int | None:
    recent = Segment.objects.filter(bets__gte=LEAST_BETS).order_by("-id")[:4]
    found = recent.aggregate(bytes=Sum("raw_bytes"), bets=Sum("bets"))
    return found["bytes"] // found["bets"] if found["bets"] else None


def tell() -> None:
    if connection.vendor != "sqlite":
        return
    found = measure()
    BYTES_PER_BET.set(found.bytes_a_bet)
    PER_DAY.set(found.bytes_a_day)
    PROJECTED.set(found.projected_ratio)
    days_left = found.days_left
    DAYS_LEFT.set(float("inf") if days_left is None else days_left)


def as_json(found: Growth) -> dict[str, Any]:
    days_left = found.days_left
    return {
        "bets": found.bets,
        "bets_a_day": found.bets_a_day,
        "ledger_bytes": found.ledger_bytes,
        "prices_bytes": found.prices_bytes,
        "bytes_a_bet": found.bytes_a_bet,
        "segment_bytes_a_bet": found.segment_bytes_a_bet,
        "bytes_a_day": found.bytes_a_day,
        "projected_used_pct": round(100 * found.projected_ratio, 1),
        "days_left_unarchived": None if days_left is None else round(days_left, 1),
    }
