"""How far long work has come: a bar on a terminal, else a line a second at most. On stderr, so
that stdout is the answer alone."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")
_SAY_EVERY_S: Final = 1.0


class Advance(Protocol):
    def __call__(self, done: int, of: int | None = None) -> None:
        """So many of so many are done; of an unknown number if that was never told."""


@contextmanager
def shown(what: str, total: int | None = None) -> Iterator[Advance]:
    console = Console(stderr=True)
    said_at = time.monotonic()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int, of: int | None = None) -> None:
            nonlocal said_at, total
            total = total if of is None else of
            if console.is_terminal:
                bar.update(task, completed=done, total=total)
            elif time.monotonic() - said_at >= _SAY_EVERY_S:
                said_at = time.monotonic()
                sys.stderr.write(f"{what}: {done}{'' if total is None else f' of {total}'}\n")

        yield advance


def watched(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The items, with their progress."""
    with shown(what, total) as advance:
        for number, item in enumerate(items, 1):
            yield item
            advance(number)
