"""A few threads in which an event loop's process reads the database.

Django's own bridge runs everything in one thread; these let reads wait side by side, and bound
how many there are. Reads only: money moves through the writer.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = ThreadPoolExecutor(4, thread_name_prefix="reads")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result, or what it raises, without holding up the loop."""

    def read() -> T:
        close_old_connections()
        return function(*args, **kwargs)

    return await asyncio.get_running_loop().run_in_executor(_THREADS, read)
