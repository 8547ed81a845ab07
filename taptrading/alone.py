"""Work that is asked for every second and may take longer."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

T = TypeVar("T")


def alone(work: Callable[[], T]) -> Callable[[], T | None]:
    """One run at a time in this process. Whoever asks meanwhile gets None at once, and the run that
    is on begins again when it is over: so none of a worker's threads waits for another, and what
    came up meanwhile is seen."""
    lock = threading.Lock()
    on = again = False

    @wraps(work)
    def run() -> T | None:
        nonlocal on, again
        with lock:
            if on:
                again = True
                return None
            on = True
        try:
            while True:
                result = work()
                with lock:
                    if not again:
                        on = False
                        return result
                    again = False
        except BaseException:
            with lock:
                on = again = False
            raise

    return run
