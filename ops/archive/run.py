"""A run of the archive: segments taken from step to step, each step on record before the next.

A run that ends anywhere leaves a segment in some state. The next run goes on from there: what a
step had half done, it does again.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection

from ops.archive import check, content, cut, shelf, store
from ops.archive.content import NotTheSame
from ops.archive.removal import Kept, RemoveBets, Removed, RemoveSeals, Shrink
from ops.archive.shelf import Damaged
from ops.lock import FolderLock
from taptrading import clock
from taptrading.errors import Broken, DependencyError, Refusal
from taptrading.limits import LIMITS
from taptrading.rows import fetch
from wallet import link, segments
from wallet.models import ArchiveRun, Checkpoint, Segment
from wallet.protocol import Command

logger = logging.getLogger(__name__)
State = Segment.State

# Of the segment's name: the step, how much of it is done, of how much (0: nobody knows).
Progress = Callable[[str, str, int, int], None]

CHECKPOINTS_AT_ONCE: Final = 2_000
SHRINK_PAGES: Final = 256
# Smaller ones are not worth a file each.
LEAST_ENTRIES: Final = 10_000
# Room that the next days would take again anyway.
FREE_SHARE_KEPT: Final = 0.05
_PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.5


class Unfinished(Exception):
    """The run cannot go on; nothing is lost, and the next one goes on from here."""


def archive(until_us: int, progress: Progress) -> list[Segment]:
    """Finish what an earlier run left, then archive all that was made before this instant.

    Raises AlreadyRunning, Unfinished, cut.TooYoung, or what the database and the store raise.
    """
    Path(settings.SEGMENTS_DIR).mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FolderLock(Path(settings.RUN_DIR) / "archive.lock")
    lock.take()
    try:
        return _archive(until_us, progress)
    finally:
        lock.release()


def _archive(until_us: int, progress: Progress) -> list[Segment]:
    started_at = clock.now()
    finished: list[Segment] = []
    shelf.clear_finished()
    while (segment := unfinished() or _next(until_us)) is not None:
        _finish(segment, progress)
        finished.append(segment)
    _shrink(progress)
    dropped = shelf.drop()
    ArchiveRun.objects.create(
        started_at=started_at, finished_at=clock.now(), segments=len(finished)
    )
    logger.info("action=archive segments=%s dropped=%s", [s.name for s in finished], dropped)
    return finished


def unfinished() -> Segment | None:
    return Segment.objects.exclude(state=State.PRUNED).order_by("id").first()


def _next(until_us: int) -> Segment | None:
    """A segment no larger than the disk has room for while it is made."""
    found = cut.find(until_us)
    if found is None:
        return None
    most = shelf.entries_that_fit()
    if found.entries > most:
        if most < LEAST_ENTRIES:
            raise Unfinished("the disk has no room for a segment: docs/runbooks/disk-space.md")
        found = cut.find(until_us, most)
        assert found is not None
    return cut.record(found)


def _finish(segment: Segment, progress: Progress) -> None:
    steps = {
        State.CUT: _write,
        State.WRITTEN: _upload,
        State.UPLOADED: _verify,
        State.VERIFIED: _prune,
    }
    while segment.state != State.PRUNED:
        step = steps[State(segment.state)]
        started = time.monotonic()
        step(segment, progress)
        took_s = time.monotonic() - started
        logger.info("action=archive segment=%s now=%s s=%.1f", segment, segment.state, took_s)


def _move(segment: Segment, state: State, **found: object) -> None:
    """Put the step on record. Raises Broken if somebody else has."""
    was = segment.state
    changed = Segment.objects.filter(pk=segment.pk, state=was).update(state=state, **found)
    if changed != 1:
        raise Broken(f"segment {segment} is not {was} any more")
    segment.refresh_from_db()


# The steps.


def _write(segment: Segment, progress: Progress) -> None:
    raw, packed = shelf.work_file(segment, "sqlite3"), shelf.work_file(segment, "zst")

    def copied(done: int, total: int) -> None:
        progress(segment.name, "copy", done, total)

    try:
        found = content.write(raw, segment, copied)
    except NotTheSame as error:
        raise Unfinished(str(error)) from error
    progress(segment.name, "pack", 0, 1)
    sizes = shelf.pack(raw, packed)
    raw.unlink()
    _move(segment, State.WRITTEN, **found._asdict(), **sizes._asdict())


def _upload(segment: Segment, progress: Progress) -> None:
    packed = shelf.work_file(segment, "zst")
    if not packed.exists() or shelf.sha256_of(packed) != segment.packed_sha256:
        _move(segment, State.CUT)  # the file is gone: write it again
        return
    progress(segment.name, "upload", 0, 1)
    store.upload(packed, segment)
    _move(segment, State.UPLOADED)


def _verify(segment: Segment, progress: Progress) -> None:
    """Read back all that is stored, and compare it with what was written and with itself."""
    raw = shelf.work_file(segment, "readback")
    progress(segment.name, "read back", 0, 1)
    try:
        shelf.unpack(store.download(segment), raw, segment)
    except (Damaged, FileNotFoundError) as error:
        _move(segment, State.WRITTEN)
        raise Unfinished(f"{segment}: {error}") from error
    progress(segment.name, "check", 0, 1)
    checked = check.check(raw, segment)
    if checked.report.totals:
        raise Unfinished(f"{segment} does not add up: {checked.report.examples[0]}")
    _record_shares(segment, checked.shares)
    shelf.put(raw, segment)
    _move(segment, State.VERIFIED, verified_at=clock.now())


def _record_shares(segment: Segment, shares: Sequence[check.Share]) -> None:
    """In small transactions; one that an earlier run had recorded stays."""
    for first in range(0, len(shares), CHECKPOINTS_AT_ONCE):
        Checkpoint.objects.bulk_create(
            (
                Checkpoint(segment=segment, **share._asdict())
                for share in shares[first : first + CHECKPOINTS_AT_ONCE]
            ),
            ignore_conflicts=True,
        )


def _prune(segment: Segment, progress: Progress) -> None:
    if not shelf.is_at_hand(segment):
        fetch_back(segment)
    gone = 0
    for bet_ids in content.bets_in(segments.path_of(segment.name), LIMITS.archive_batch):
        progress(segment.name, "remove", gone, segment.bets)
        here = _still_here(bet_ids)
        if here:
            _carry_out(RemoveBets(segment.pk, here))
        gone += len(bet_ids)
    while _carry_out(RemoveSeals(segment.pk, LIMITS.archive_batch)):
        progress(segment.name, "remove", gone, segment.bets)
    _move(segment, State.PRUNED, pruned_at=clock.now())
    shelf.clear_work(segment)


def _still_here(bet_ids: Sequence[int]) -> list[int]:
    marks = ", ".join(["%s"] * len(bet_ids))
    found = fetch(f"SELECT id FROM bets_bet WHERE id IN ({marks})", bet_ids)  # noqa: S608
    return [bet_id for (bet_id,) in found]


def _carry_out(command: Command) -> int:
    """Have the writer do it; how many rows went. Raises Unfinished."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            outcome = link.call(command)
        except DependencyError as error:  # done or not: done again it removes what is left
            outcome = Refusal("dependency_unavailable", message=str(error))
        match outcome:
            case Removed():
                return outcome.rows
            case Kept():
                raise Unfinished(f"nothing was removed: {outcome.why}")
        if time.monotonic() > give_up:
            raise Unfinished(f"the writer does not remove rows: {outcome.sentence}")
        time.sleep(_PAUSE_S)


def _shrink(progress: Progress) -> None:
    """Deleting rows shrinks no SQLite file: its free pages are given back, a few at a time."""
    if connection.vendor != "sqlite":
        return
    ((free,),), ((pages,),) = fetch("PRAGMA freelist_count", []), fetch("PRAGMA page_count", [])
    surplus = free - int(pages * FREE_SHARE_KEPT)
    done = 0
    while done < surplus:
        progress("", "shrink", done, surplus)
        gone = _carry_out(Shrink(SHRINK_PAGES))
        if gone == 0:  # an old file that was not made to shrink
            break
        done += gone


# Back again.


def fetch_back(segment: Segment) -> check.Checked:
    """Put the stored copy where history is read from. Raises Damaged if it is not the one that was
    stored or does not add up, OSError, or what the store raises."""
    if not shelf.room_for(segment):
        raise OSError(f"there is no room for {segment}: {segment.raw_bytes} bytes")
    raw = shelf.work_file(segment, "restored")
    shelf.unpack(store.download(segment), raw, segment)
    checked = check.check(raw, segment)
    if checked.report.totals:
        raise Damaged(f"{segment} does not add up: {checked.report.examples[0]}")
    shelf.put(raw, segment)
    return checked
