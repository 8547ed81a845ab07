"""Ending background tasks so that it cannot hang."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_PATIENCE_S: Final = 0.5


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel and wait. A cancellation can be lost inside a library that is just closing a
    connection, so it is asked for again until it is heard."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PATIENCE_S)
