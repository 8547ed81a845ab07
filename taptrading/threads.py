"""A few threads in which an event loop's process reads the database and runs Django.

They let what blocks wait side by side, keep a connection each, and bound how many there are.
Money moves through the writer only.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from django.db import close_old_connections

from taptrading.errors import DependencyError

P = ParamSpec("P")
T = TypeVar("T")

WAITING_MAX: Final = 1_000


class Threads:
    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._waiting = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or what it raises, without holding up the loop.

        Raises DependencyError at once when too many wait already.
        """
        if self._waiting >= WAITING_MAX:
            raise DependencyError("too many requests wait for a thread")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, lambda: function(*args, **kwargs)
            )
        finally:
            self._waiting -= 1


READS: Final = Threads(4, "reads")
# These may wait for the writer, which has seconds to answer.
CHANGES: Final = Threads(8, "changes")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function that reads the database, or what it raises; see `Threads.run`."""

    def read() -> T:
        close_old_connections()
        return function(*args, **kwargs)

    return await READS.run(read)
