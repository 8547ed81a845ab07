"""A few threads in which an event loop's process reads the database.

Django's own bridge runs everything in one thread; these let reads wait side by side, and bound
how many there are. Reads only: money moves through the writer.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from django.db import close_old_connections

from taptrading.errors import DependencyError

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = ThreadPoolExecutor(4, thread_name_prefix="reads")
WAITING_MAX: Final = 1_000
_waiting = 0


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result, or what it raises, without holding up the loop.

    Raises DependencyError at once when too many reads wait already.
    """
    global _waiting
    if _waiting >= WAITING_MAX:
        raise DependencyError("too many reads wait for the database")

    def read() -> T:
        close_old_connections()
        return function(*args, **kwargs)

    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, read)
    finally:
        _waiting -= 1
