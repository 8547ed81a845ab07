"""What was decided about every bet, in lines of the log that hold many decisions each.

A line per bet would be ten thousand a second. Whoever decides notes a word per bet, and a line is
written for some dozens of them, or once a second. Off unless the logger `journal` is at INFO
(`BET_LOG`): then a note costs next to nothing.
"""

import logging
from collections.abc import Iterable
from typing import Any, Final

from taptrading import metrics

AT_ONCE: Final = 80  # a line stays below the 4 KiB that a pipe takes in one piece

log = logging.getLogger("journal")


def wanted() -> bool:
    return log.isEnabledFor(logging.INFO)


def write(event: str, **facts: Any) -> None:
    """One line."""
    log.info(event, extra=facts)


def write_each(event: str, name: str, words: Iterable[str], **facts: Any) -> None:
    """The words, AT_ONCE a line."""
    if not wanted():
        return
    every = list(words)
    for start in range(0, len(every), AT_ONCE):
        write(event, **facts, **{name: every[start : start + AT_ONCE]})


class Notes:
    """Words that gather to lines of one kind. On one thread only."""

    def __init__(self, event: str, name: str) -> None:
        self._event = event
        self._name = name
        self._words: list[str] = []
        metrics.on_flush(self.write)

    def add(self, word: str) -> None:
        self._words.append(word)
        if len(self._words) >= AT_ONCE:
            self.write()

    def write(self) -> None:
        words, self._words = self._words, []
        write_each(self._event, self._name, words)
