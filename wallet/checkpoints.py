"""Copying the write-ahead log back into the database file, beside the writer instead of in its
COMMIT, where a batch would wait for it.

A checkpoint beside a busy writer copies all but the newest frames, and so never lets the log
start over. The writer's own checkpoint, at WAL_PAGES, finds nearly everything copied, copies the
rest, and the next batch writes at the log's beginning again: the log is bounded, its writer is
hardly held up, and pages that change again and again are copied once. So that little is left for
the writer, what is copied at once becomes less towards the log's end.
"""

import logging
import sqlite3
import threading
from typing import Final

from django.conf import settings
from django.db import connection
from prometheus_client import Gauge, Histogram

log = logging.getLogger(__name__)

WAL_PAGES: Final = 16_000
COPIED_AT_PAGES: Final = 4_000
END_PAGES: Final = 13_500
COPIED_AT_THE_END: Final = 500
LOOK_S: Final = 0.02

UNCOPIED = Gauge(
    "writer_wal_uncopied_pages",
    "Pages of the log not yet in the database file",
    multiprocess_mode="livesum",
)
CHECKPOINT_SECONDS = Histogram(
    "writer_checkpoint_seconds",
    "Time of a checkpoint beside the writer",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)


class Checkpointer:
    """A thread with a connection of its own, from `start` to `stop`; SQLite only."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def start(self) -> None:
        if connection.vendor != "sqlite":
            return
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        database = sqlite3.connect(settings.DATABASES["default"]["NAME"], isolation_level=None)
        # What is copied must be on disk before the log starts over.
        database.execute("PRAGMA synchronous=FULL")
        while not self._over.wait(LOOK_S):
            try:
                self._look(database)
            except sqlite3.Error as error:  # the writer's own checkpoint does it all, then
                log.warning("no checkpoint: %s", error)
        database.close()

    def _look(self, database: sqlite3.Connection) -> None:
        pages, waiting = _log(database, "NOOP")
        UNCOPIED.set(waiting)
        if waiting >= (COPIED_AT_PAGES if pages < END_PAGES else COPIED_AT_THE_END):
            with CHECKPOINT_SECONDS.time():
                _, waiting = _log(database, "PASSIVE")
            UNCOPIED.set(waiting)


def _log(database: sqlite3.Connection, mode: str) -> tuple[int, int]:
    """Checkpoint in this mode. Returns the log's pages, and how many are only there."""
    _, pages, copied = database.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return int(pages), int(pages - copied)
