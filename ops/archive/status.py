"""What metrics say of the archive. A dead man's switch must outlive restarts, so it is told from
the database."""

from typing import Final

from django.db import connection
from prometheus_client import Gauge

from taptrading import clock
from taptrading.rows import fetch
from wallet.models import ArchiveRun, Seal

LAST: Final = Gauge(
    "last_successful_archive_timestamp",
    "When a run of the archive last came to its end, or, before the first, when history began",
    multiprocess_mode="mostrecent",
)
FREE: Final = Gauge(
    "database_free_pages",
    "Pages of the database's file that hold nothing",
    multiprocess_mode="mostrecent",
)


def tell() -> None:
    LAST.set(last_success_us() / clock.US_PER_S)
    if connection.vendor == "sqlite":
        ((pages,),) = fetch("PRAGMA freelist_count", [])
        FREE.set(pages)


def last_success_us() -> int:
    run = ArchiveRun.objects.order_by("-id").first()
    if run is not None:
        return clock.to_us(run.finished_at)
    oldest = Seal.objects.order_by("id").first()
    return clock.now_us() if oldest is None else clock.to_us(oldest.created_at)
