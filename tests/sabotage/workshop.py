"""A scratch copy of the repository in which defects are tried, one after another.

The tests run in processes of their own, from the copy's root: they import the copy's code.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.sabotage.defect import Defect

TESTS_S: Final = 300  # a defect may make a test wait for ever; that is noticed too
_NOTHING_RUN: Final = (2, 3, 4, 5)  # pytest's codes for whatever kept it from running the tests


class Ran(NamedTuple):
    """One pytest process: its code, the tests with a failed case, and its last words."""

    code: int
    failed: frozenset[str]
    tail: str

    @property
    def nothing(self) -> bool:
        return self.code in _NOTHING_RUN


class Verdict(NamedTuple):
    """`missed`: the tests that did not notice. `trouble`: why nobody can say."""

    defect: Defect
    missed: tuple[str, ...]
    trouble: str
    seconds: float

    @property
    def is_caught(self) -> bool:
        return not self.missed and not self.trouble


def copy_tree(source: Path, target: Path) -> None:
    """The working tree as it lies, new files included, but nothing that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_file():
            shutil.copy(source / name, path)


class Workshop:
    def __init__(self, root: Path) -> None:
        self.root = root

    def judge(self, defect: Defect) -> Verdict:
        """Apply it, run its tests, take it back."""
        started = time.monotonic()
        before = {edit.file: (self.root / edit.file).read_text() for edit in defect.edits}
        try:
            for edit in defect.edits:
                edit.apply(self.root)
            ran = self.run(defect.caught_by)
        finally:
            for file, text in before.items():
                (self.root / file).write_text(text)
        missed = tuple(test for test in defect.caught_by if test not in ran.failed)
        trouble = f"no test was run: {ran.tail}" if ran.nothing else ""
        return Verdict(defect, missed, trouble, time.monotonic() - started)

    def run(self, tests: Sequence[str]) -> Ran:
        """A test that cannot be set up has not failed: it says nothing about what it checks."""
        command = (
            *(sys.executable, "-B", "-m", "pytest", "-q", "--tb=no", "--no-header", "-rfE"),
            *("-p", "no:cacheprovider", "-p", "no:randomly", *tests),
        )
        outer = ("PYTEST_", "COV_", "COVERAGE_", "DJANGO_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(outer)}
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TESTS_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ran(1, frozenset(tests), f"not done after {TESTS_S} s")
        lines = done.stdout.splitlines()
        return Ran(done.returncode, _failed(lines), lines[-1] if lines else "")


def _failed(lines: Sequence[str]) -> frozenset[str]:
    """Node ids without their parameters, of pytest's short summary."""
    words = (line.removeprefix("FAILED ") for line in lines if line.startswith("FAILED "))
    return frozenset(word.split(" - ")[0].split("[")[0] for word in words)
