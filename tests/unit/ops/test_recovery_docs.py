"""docs/DISASTER_RECOVERY.md names tests: each of them exists."""

import ast
import re
from functools import cache

import pytest

from tests.sabotage.defects import DEFECTS
from tests.stack import ROOT

TEXT = (ROOT / "docs" / "DISASTER_RECOVERY.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py|…)::(\w+)`")


def named() -> list[tuple[str, str]]:
    """File and beginning of each; … stands for the file before."""
    found, last = [], ""
    for file, name in NAMED.findall(TEXT):
        last = last if file == "…" else file
        found.append((last, name))
    return found


@cache
def functions_of(file: str) -> tuple[str, ...]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return tuple(node.name for node in tree.body if isinstance(node, functions))


@pytest.mark.parametrize(("file", "name"), sorted(set(named())))
def test_recovery_when_it_names_a_test_then_there_is_one(file: str, name: str) -> None:
    assert any(test.startswith(f"test_{name}") for test in functions_of(file))


def test_recovery_when_read_then_its_rows_name_their_tests() -> None:
    rows = TEXT.split("## When something fails")[1].split("\n## ")[0].splitlines()
    failures = [row for row in rows if row.startswith("| ")][2:]
    assert len(failures) >= 15
    for row in failures:
        assert NAMED.search(row.split("|")[4]), row


def test_recovery_when_it_speaks_of_sabotage_then_the_list_has_it() -> None:
    names = {defect.name for defect in DEFECTS}
    told = TEXT.split("### Sabotage")[1]
    rows = [row for row in told.splitlines() if row.startswith("| ")][2:]
    assert set(re.findall(r"\(?`(\w+)`[,)]", "\n".join(row.split("|")[1] for row in rows))) <= names
    assert f"list of {len(names)}" in told
