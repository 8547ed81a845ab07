"""What may be wrong with an installation, and what to do about it.

`ground.py` looks at the machine and needs neither Django nor settings that hold, `platform.py` at
everything that the settings name. A check never changes anything, and never waits for long.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

State = Literal["ok", "note", "warn", "bad"]

OK: Final[State] = "ok"
NOTE: Final[State] = "note"  # nothing is wrong; worth knowing
WARN: Final[State] = "warn"  # it works, and will not for long, or not safely
BAD: Final[State] = "bad"  # it does not work


class Finding(NamedTuple):
    """What one check found; `advice` is what to do, empty if nothing."""

    check: str
    state: State
    says: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def examine(checks: Iterable[Check]) -> list[Finding]:
    """Everything that the checks find. One that fails itself is a finding too."""
    found: list[Finding] = []
    for check in checks:
        try:
            found += check()
        except Exception as error:  # a broken installation breaks in ways nobody foresaw
            name = check.__name__.replace("_", " ")
            says = f"could not be checked: {type(error).__name__}: {error}"
            found.append(Finding(name, BAD, says, "Look at the log, and at what is bad above."))
    return found


def worst(found: Iterable[Finding]) -> State:
    order: tuple[State, ...] = (OK, NOTE, WARN, BAD)
    return max((finding.state for finding in found), key=order.index, default=OK)
