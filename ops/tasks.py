"""What operations do by the clock. Each task may run twice, or be cut short, without harm."""

import logging
from typing import Any

from celery import shared_task
from django.contrib.sessions.models import Session
from django.db.models import Min, Model, Q, QuerySet

from bets.models import Bet
from ops import disk as room
from ops import growth, proposals, reconciliation
from ops.archive import process, status
from ops.audit import gather, retention
from ops.backup import status as backup_status
from ops.integrity import daily
from ops.turns import housekeeping, restoring
from pricefeed.models import Tick
from taptrading import clock, disk
from taptrading.disk import Level
from taptrading.limits import LIMITS
from wallet import custody
from wallet.models import TraderSession

logger = logging.getLogger(__name__)

# A short transaction each, so that the writer never waits long for its turn.
_BATCH_ROWS = 1_000
_BATCHES_PER_RUN = 2_000
_TICK_PADDING_S = 60


@shared_task(name="ops.prune")
def prune() -> dict[str, int]:
    """Rows removed, by table: old ticks, sessions that have ended."""
    now_us = clock.now_us()
    ended = Q(expires_at__lt=clock.from_us(now_us))
    removed = {
        "ticks": _remove(Tick.objects.filter(at__lt=clock.from_us(_oldest_tick_us(now_us)))),
        "trader_sessions": _remove(TraderSession.objects.filter(ended)),
        "staff_sessions": _remove(Session.objects.filter(expire_date__lt=clock.from_us(now_us))),
        "audit_entries": retention.prune(),
    }
    logger.info("action=prune %s", " ".join(f"{name}={rows}" for name, rows in removed.items()))
    return removed


@shared_task(name="ops.gather_audit")
def gather_audit() -> int:
    """How much of what the price feed tells of the breaker is new to the audit log."""
    return gather.gather()


@shared_task(name="ops.carry_out_proposals")
def carry_out_proposals() -> int:
    """How many were approved while the writer was away. Those whose time is over are so."""
    proposals.expire()
    return proposals.carry_out_approved()


@shared_task(name="ops.verify_ledger", bind=True)
def verify_ledger(self: Any) -> bool | None:
    """Whether the ledger is clean; None if another check runs already."""
    try:
        with housekeeping.taken(self):
            report = daily.check()
    except daily.CouldNotRun as error:
        logger.error("action=integrity_check could not run: %s", error)
        raise
    return None if report is None else bool(report["clean"])


@shared_task(name="ops.archive", bind=True)
def archive(self: Any) -> bool:
    """Whether all that is old enough is in the archive now."""
    with housekeeping.taken(self):
        return process.run("archive", "--json")


@shared_task(name="ops.archive_early", bind=True)
def archive_early(self: Any) -> bool:
    """Whether all that may go while the disk is full is in the archive now."""
    age_s = min(LIMITS.archive_early_s, LIMITS.archive_after_s) + 1
    until_us = clock.now_us() - age_s * clock.US_PER_S
    with housekeeping.taken(self):
        return process.run("archive", "--until", clock.iso_ms(until_us), "--json")


@shared_task(name="ops.watch_disk")
def watch_disk() -> str:
    """How full the disk is; if too full, room is made, and the archive asked to go ahead."""
    level = disk.room().level()
    if level >= Level.CLEAN:
        level = room.make_room().after.level()
        if room.archive_is_due(level):
            archive_early.apply_async(expires=room.ARCHIVE_EVERY_S)
    return level.name.lower()


@shared_task(name="ops.project_growth")
def project_growth() -> None:
    """How fast the disk fills, as metrics."""
    growth.tell()


@shared_task(name="ops.restore_segment", bind=True)
def restore_segment(self: Any, name: str) -> bool:
    """Whether the segment can be read now. A trader waits for it."""
    with restoring.taken(self):
        return process.run("restore_segment", name, "--json")


@shared_task(name="ops.tell_archive")
def tell_archive() -> None:
    """When the archive last came to its end, for a process that has started since."""
    status.tell()


@shared_task(name="ops.backup", bind=True)
def backup(self: Any) -> bool:
    """Whether there is a new backup, read back."""
    with housekeeping.taken(self):
        return process.run("backup_db", "--json")


@shared_task(name="ops.restore_drill", bind=True)
def restore_drill(self: Any) -> bool:
    """Whether the newest backup came back and its ledger adds up."""
    with housekeeping.taken(self):
        return process.run("restore_db", "--drill", "--json")


@shared_task(name="ops.tell_backups")
def tell_backups() -> None:
    """When the newest backup was taken, for a process that has started since."""
    backup_status.tell()


@shared_task(name="ops.reconcile_custody")
def reconcile_custody() -> bool | None:
    """Whether the custodian holds what the ledger says; None if nobody can be asked: its statement
    is then given to `manage.py reconcile_custody` by hand."""
    custodian = custody.custodian()
    if custodian is None:
        logger.warning("action=reconcile_custody nobody to ask: no custodian is connected")
        return None
    try:
        made = reconciliation.reconcile(custodian.holdings_micros, custodian.name)
    finally:
        reconciliation.tell()
    return made.mismatch_micros == 0


@shared_task(name="ops.tell_custody")
def tell_custody() -> None:
    """What the last reconciliation found, for a process that has started since."""
    reconciliation.tell()


def _oldest_tick_us(now_us: int) -> int:
    """Ticks before this are past their time, no undecided bet needs them, and the newest one,
    from which the numbering goes on, is not among them."""
    retained_us = now_us - LIMITS.tick_retention_s * clock.US_PER_S
    undecided: int | None = Bet.objects.open().aggregate(first=Min("column_start"))["first"]
    needed_us = retained_us
    if undecided is not None:
        needed_s = undecided - LIMITS.columns * LIMITS.column_s - _TICK_PADDING_S
        needed_us = needed_s * clock.US_PER_S
    newest = Tick.objects.order_by("-seq").values_list("at", flat=True).first()
    newest_us = retained_us if newest is None else clock.to_us(newest)
    return min(retained_us, needed_us, newest_us)


def _remove(rows: QuerySet[Any, Any]) -> int:
    """Deletes in batches by primary key, oldest first. How many."""
    model: type[Model] = rows.model
    removed = 0
    for _batch in range(_BATCHES_PER_RUN):
        batch = list(rows.order_by("pk").values_list("pk", flat=True)[:_BATCH_ROWS])
        if batch:
            rows_removed, _ = model._default_manager.filter(pk__in=batch).delete()
            removed += rows_removed
        if len(batch) < _BATCH_ROWS:
            break
    return removed
