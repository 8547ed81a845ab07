"""`python -m tests.mutation.tool`: mutmut in the current folder, with one more operator.

Its own operators change what a call is given, never whether it is made; a forgotten call is
what the money path has to fear. Each mutant is a fork of this process that runs the tests which
reach it; the tests' database, which would take most of its time, is made once and copied.
Writes what became of each mutant, one a line.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import libcst as cst
from django.core import management
from django.db import connections
from mutmut.__main__ import cli
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.mutators import mutation_operators
from mutmut.stats import status_by_exit_code

from tests.mutation.verdicts import KILLED, Mutant, as_line


def forget_call(node: cst.Expr) -> Iterable[cst.Pass]:
    """A statement that is nothing but a call -> `pass`."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


class Template:
    """Stands in for Django's `call_command` as it creates the tests' databases: migrates each of
    them once, and copies what that made into those that forks create later."""

    def __init__(self) -> None:
        self._call = management.call_command
        self._made: dict[str, Any] = {}

    def __call__(self, name: str, *args: Any, **options: Any) -> None:
        if name != "migrate":
            self._call(name, *args, **options)
            return
        database = options["database"]
        connections[database].ensure_connection()
        made = self._made.get(database)
        if made is None:
            self._call(name, *args, **options)
            raw = connections[database].connection
            self._made[database] = made = type(raw)(":memory:")
            raw.backup(made)
        else:
            made.backup(connections[database].connection)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.tool", description=__doc__)
    parser.add_argument("--children", type=int, required=True)
    parser.add_argument("--into", type=Path, required=True)
    asked = parser.parse_args()
    management.call_command = Template()  # type: ignore[assignment]
    mutation_operators.append((cst.Expr, forget_call))
    cli(["run", "--max-children", str(asked.children)], standalone_mode=False)
    found = [mutant for path in config().only_mutate for mutant in mutants_of(path)]
    asked.into.write_text("".join(as_line(mutant) for mutant in found))


def mutants_of(path: str) -> Iterable[Mutant]:
    data = SourceFileMutationData(path=Path(path))
    data.load()
    for name, exit_code in data.exit_code_by_key.items():
        status = status_by_exit_code[exit_code]
        if status in KILLED:
            yield Mutant(path, status, "", "")
        else:
            diff = get_diff_for_mutant(name, path=path).splitlines()
            yield Mutant(path, status, changed(diff, "-"), changed(diff, "+"))


def changed(diff: list[str], sign: str) -> str:
    """The lines of one side, without their indentation, as one."""
    lines = (line[1:].strip() for line in diff[2:] if line.startswith(sign))
    return " ".join(lines)


if __name__ == "__main__":
    main()
