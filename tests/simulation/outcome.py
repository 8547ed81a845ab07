"""What came of one seed. Imports nothing, so that it can be read without Django."""

from collections import Counter
from typing import NamedTuple


class Outcome(NamedTuple):
    """`digest` is of the whole trace and of all that is stored in the end. `seconds` are of CPU."""

    seed: int
    digest: str
    steps: int
    seconds: float
    faults: Counter[str]
    counts: Counter[str]
    violation: str = ""
    trace: tuple[str, ...] = ()
