"""Long work takes turns: the worker's threads are there for the traders' bets and money.

A task that finds another one of its kind at work asks to be called again later, and lets go of
its thread.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final


class Turn:
    """One at a time; the others come again after `again_s`, for so many hours."""

    def __init__(self, again_s: int, hours: int) -> None:
        self._lock = threading.Lock()
        self._again_s = again_s
        self._most = hours * 3_600 // again_s

    @contextmanager
    def taken(self, task: Any) -> Iterator[None]:
        """Raises celery.exceptions.Retry."""
        if not self._lock.acquire(blocking=False):
            raise task.retry(countdown=self._again_s, max_retries=self._most)
        try:
            yield
        finally:
            self._lock.release()


# What the timetable calls, and what traders wait for.
housekeeping: Final = Turn(again_s=60, hours=12)
restoring: Final = Turn(again_s=5, hours=1)
