"""`python -m tests.sabotage [name …]`: each defect in a scratch copy; the tests named must fail."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from tests.sabotage.defect import Defect
from tests.sabotage.defects import DEFECTS
from tests.sabotage.workshop import Verdict, Workshop, copy_tree

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    defects, jobs = _asked()
    with tempfile.TemporaryDirectory(prefix="tap-sabotage-") as folder:
        workshops: SimpleQueue[Workshop] = SimpleQueue()
        for number in range(jobs):
            root = Path(folder, str(number))
            copy_tree(ROOT, root)
            workshops.put(Workshop(root))
        with borrowed(workshops) as workshop:
            if not _all_pass(workshop, defects):
                return 1
        with ThreadPoolExecutor(jobs) as pool:
            survivors = report(pool.map(lambda defect: _judge(workshops, defect), defects))
    print(f"{len(defects)} defects, {survivors} survived")
    return 1 if survivors else 0


def _asked() -> tuple[list[Defect], int]:
    parser = argparse.ArgumentParser(prog="python -m tests.sabotage", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help="which defects; all if none")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    by_name = {defect.name: defect for defect in DEFECTS}
    unknown = [name for name in asked.names if name not in by_name]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in asked.names] or list(DEFECTS), asked.jobs


@contextmanager
def borrowed(workshops: "SimpleQueue[Workshop]") -> Iterator[Workshop]:
    workshop = workshops.get()
    try:
        yield workshop
    finally:
        workshops.put(workshop)


def _judge(workshops: "SimpleQueue[Workshop]", defect: Defect) -> Verdict:
    with borrowed(workshops) as workshop:
        return workshop.judge(defect)


def _all_pass(workshop: Workshop, defects: list[Defect]) -> bool:
    """Without any defect: a test that fails anyway catches nothing."""
    tests = list(dict.fromkeys(test for defect in defects for test in defect.caught_by))
    ran = workshop.run(tests)
    if ran.code == 0:
        print(f"{len(tests)} tests pass without a defect", flush=True)
        return True
    failed = "".join(f"\n  {test}" for test in sorted(ran.failed))
    print(f"without any defect: {ran.tail}{failed}", flush=True)
    return False


def report(verdicts: Iterator[Verdict]) -> int:
    """Print the table as it grows. Returns how many survived."""
    print("| name | what is broken | caught by | s |\n| --- | --- | --- | --- |", flush=True)
    survivors = 0
    for verdict in verdicts:
        survivors += not verdict.is_caught
        defect = verdict.defect
        print(
            f"| {defect.name} | {defect.breaks} | {_catchers(verdict)} | {verdict.seconds:.0f} |",
            flush=True,
        )
    return survivors


def _catchers(verdict: Verdict) -> str:
    if verdict.trouble:
        return f"NOBODY KNOWS: {verdict.trouble}"
    if verdict.missed:
        return f"SURVIVED {', '.join(map(_short, verdict.missed))}"
    return ", ".join(map(_short, verdict.defect.caught_by))


def _short(test: str) -> str:
    return test.rpartition("::")[2]


if __name__ == "__main__":
    sys.exit(main())
