"""Background tasks end even when a library loses the first cancellation."""

import asyncio
import contextlib

from pricefeed.ending import end


async def test_end_tasks_when_one_swallows_a_cancellation_then_it_is_asked_again() -> None:
    async def hard_of_hearing() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def over() -> None:
        pass

    tasks = [asyncio.create_task(hard_of_hearing()), asyncio.create_task(over())]
    await asyncio.sleep(0)
    await end(tasks)
    assert all(task.done() for task in tasks)
