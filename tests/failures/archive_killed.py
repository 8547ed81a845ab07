"""`manage.py archive` that kills itself (SIGKILL) at a named point, for test_archive_killed.py.

python -m tests.failures.archive_killed POINT
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple


class Point(NamedTuple):
    """Before or after the `nth` call of this function."""

    module: str
    function: str
    after: bool
    nth: int = 1


# In the order in which a segment passes them.
POINTS: Final = {
    "nothing recorded": Point("ops.archive.cut", "record", False),
    "cut recorded": Point("ops.archive.cut", "record", True),
    "written": Point("ops.archive.content", "write", True),
    "packed": Point("ops.archive.shelf", "pack", True),
    "written recorded": Point("ops.archive.run", "_move", True),
    "uploaded": Point("ops.archive.store", "upload", True),
    "uploaded recorded": Point("ops.archive.run", "_move", True),
    "read back": Point("ops.archive.shelf", "unpack", True),
    "checked": Point("ops.archive.check", "check", True),
    "checkpoints recorded": Point("ops.archive.run", "_record_shares", True),
    "put on the shelf": Point("ops.archive.shelf", "put", True),
    "verified recorded": Point("ops.archive.run", "_move", True),
    "some bets removed": Point("ops.archive.run", "_carry_out", True, nth=2),
    "about to remove more": Point("ops.archive.run", "_carry_out", False, nth=2),
    "all removed": Point("ops.archive.run", "_move", False),
    "pruned recorded": Point("ops.archive.run", "_move", True),
}


def _die_at(point: Point) -> None:
    module = sys.modules[point.module]
    original: Callable[..., Any] = getattr(module, point.function)
    calls = 0

    def dying(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == point.nth and not point.after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*words, **named)
        if calls == point.nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(module, point.function, dying)


def _run(point: Point) -> int:
    """The signal that ended it."""
    child = os.fork()
    if child == 0:
        from django.core.management import call_command

        _die_at(point)
        try:
            call_command("archive")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def main() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "taptrading.settings"
    django.setup()
    from ops.archive import check, content, cut, run, shelf, store

    assert all((check, content, cut, run, shelf, store))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for line in sys.stdin:
        sys.stdout.write(f"ended {_run(POINTS[line.strip()])}\n")


if __name__ == "__main__":
    main()
