"""What became of the mutants, and the list of survivors that were looked at.

A survivor is told by its file, the text of the line it changes and the text it becomes, so the
list stays true when lines move and turns stale when they change.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

KILLED: Final = frozenset({"killed", "timeout", "segfault"})
AT_LEAST_PERCENT: Final = 90


class Mutant(NamedTuple):
    """`before` and `after` are empty for one that was killed."""

    path: str
    status: str
    before: str
    after: str


def as_line(mutant: Mutant) -> str:
    return json.dumps(mutant) + "\n"


def read_lines(text: str) -> list[Mutant]:
    return [Mutant(*json.loads(line)) for line in text.splitlines()]


def read_explained(path: Path) -> dict[tuple[str, str, str], str]:
    """(file, before, after) -> why it may survive. Raises KeyError where a part is missing."""
    found = {}
    for entry in tomllib.loads(path.read_text())["survivor"]:
        for after in entry["after"]:
            found[entry["file"], entry["before"], after] = entry["reason"].strip()
    return found


class Verdict(NamedTuple):
    """`unexplained` are survivors that nobody has looked at, `stale` what is listed and was killed
    or is gone. What no test can tell was killed by something else: then the rest was, too."""

    table: list[str]
    unexplained: list[Mutant]
    stale: list[tuple[str, str, str]]
    passed: bool


def judge(mutants: Iterable[Mutant], explained: dict[tuple[str, str, str], str]) -> Verdict:
    mutants = list(mutants)
    survived = [mutant for mutant in mutants if mutant.status not in KILLED]
    unexplained = [m for m in survived if (m.path, m.before, m.after) not in explained]
    stale = sorted(explained.keys() - {(m.path, m.before, m.after) for m in survived})
    made = Counter(mutant.path for mutant in mutants)
    lived = Counter(mutant.path for mutant in survived)
    enough = all(100 * (made[path] - lived[path]) >= AT_LEAST_PERCENT * made[path] for path in made)
    passed = bool(mutants) and enough and not unexplained and not stale
    return Verdict(list(_table(made, lived)), unexplained, stale, passed)


def _table(made: Counter[str], lived: Counter[str]) -> Iterator[str]:
    row = "{:24} {:>7} {:>7} {:>8} {:>6}".format
    yield row("module", "mutants", "killed", "survived", "%")
    for path, count in made.items():
        yield row(path, count, count - lived[path], lived[path], _percent(count, lived[path]))
    total, alive = made.total(), lived.total()
    yield row("all", total, total - alive, alive, _percent(total, alive))


def _percent(count: int, alive: int) -> str:
    """Rounded down: 89.99 is not 90."""
    tenths = 1_000 * (count - alive) // max(count, 1)
    return f"{tenths // 10}.{tenths % 10}"
