"""The one log of the platform: `HH:MM:SS part | line` on the screen and in a bounded file, or
lines of JSON, as the parts make them, with those of others made into such.

Never waits for the screen: a paused terminal or a stuck pipe must not stop the parts.
"""

import contextlib
import os
import re
import select
from collections.abc import Sequence
from logging import INFO, Formatter, LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from taptrading import logs
from taptrading.clock import Clock, from_us
from taptrading.limits import MIB

_FILES_KEPT: Final = 3
_COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92)
# What a part says about the time stands in front of the line already.
_OWN_STAMP: Final = re.compile(
    r"^(?:\d+:[A-Z] \d\d \w{3} \d{4} )?\[?(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(?:[.,]\d+)?:?\]? +"
)
_CONTROL: Final = dict.fromkeys((*range(9), *range(10, 32), 127), "?")


class Console:
    """Where every line of every part ends up."""

    def __init__(
        self,
        screen: int,
        file: Path,
        parts: Sequence[str],
        *,
        clock: Clock | None = None,
        file_mib: int = 16,
        as_json: bool = False,
    ) -> None:
        """`screen` is a file descriptor, coloured if it is a terminal."""
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._screen = screen
        self._as_json = as_json
        self._file = RotatingFileHandler(file, maxBytes=file_mib * MIB, backupCount=_FILES_KEPT)
        self._file.setFormatter(Formatter("%(message)s"))
        self._clock = clock or Clock()
        self._width = max(map(len, parts), default=0)
        coloured = os.isatty(screen) and "NO_COLOR" not in os.environ
        self._colours = dict(zip(parts, _COLOURS * len(parts), strict=False)) if coloured else {}
        self._held_back = 0

    def say(self, part: str, line: str) -> None:
        if self._as_json:
            text = line if line.startswith("{") and line.endswith("}") else logs.line(line, part)
            self._keep(text)
            self._show(f"{text}\n")
            return
        text = logs.mask(_OWN_STAMP.sub("", line).translate(_CONTROL))
        at = f"{from_us(self._clock.now_us()):%H:%M:%S}"
        self._keep(f"{at} {part:<{self._width}} | {text}")
        self._show(f"{at} {self._in_colour(part)} | {text}\n")

    def banner(self, lines: Sequence[str]) -> None:
        """A block that stands out, on the screen and in the file."""
        if self._as_json:
            self.say("", lines[0])
            return
        rule = "=" * max(map(len, lines))
        for line in ("", rule, *lines, rule, ""):
            self._keep(line)
            self._show(f"{line}\n")

    def close(self) -> None:
        self._file.close()

    def _in_colour(self, part: str) -> str:
        colour = self._colours.get(part)
        name = f"{part:<{self._width}}"
        return name if colour is None else f"\x1b[{colour}m{name}\x1b[0m"

    def _keep(self, line: str) -> None:
        self._file.handle(LogRecord("", INFO, "", 0, line, None, None))

    def _show(self, text: str) -> None:
        """Shown if the screen takes it now; counted if not. The file has it either way."""
        if not self._takes_text():
            self._held_back += 1
            return
        if self._held_back:
            text = f"... {self._held_back} lines are in the log file only\n{text}"
            self._held_back = 0
        data = text.encode(errors="replace")[: select.PIPE_BUF]
        with contextlib.suppress(OSError):  # whoever read this has gone; the file remains
            os.write(self._screen, data)

    def _takes_text(self) -> bool:
        """A pipe that is writable takes PIPE_BUF bytes without waiting; a stopped tty is not."""
        poll = select.poll()
        poll.register(self._screen, select.POLLOUT)
        return any(state & select.POLLOUT for _, state in poll.poll(0))
