"""The list of defects still fits the code, and whoever tries them tells a catch from a miss.
`make sabotage` tries them all."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.sabotage.__main__ import report
from tests.sabotage.defect import Defect, Edit, NotOnce
from tests.sabotage.defects import DEFECTS
from tests.sabotage.workshop import Verdict, Workshop
from tests.stack import ROOT


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def test_list_when_read_then_each_name_stands_once() -> None:
    names = [defect.name for defect in DEFECTS]
    assert len(set(names)) == len(names) >= 17


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_defect_when_applied_then_the_code_holds_it_once_and_still_compiles(
    defect: Defect,
) -> None:
    texts = {edit.file: (ROOT / edit.file).read_text() for edit in defect.edits}
    assert texts
    for edit in defect.edits:
        changed = edit.applied(texts[edit.file])
        assert changed != texts[edit.file]
        texts[edit.file] = changed
    for file, text in texts.items():
        ast.parse(text, file)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_defect_when_tests_are_to_catch_it_then_they_exist(defect: Defect) -> None:
    assert defect.caught_by
    for test in defect.caught_by:
        file, _, name = test.partition("::")
        assert name in functions(file), test


@pytest.mark.parametrize("text", ["x = 2", "x = 1; x = 1"])
def test_edit_when_its_place_is_not_there_once_then_refused(text: str) -> None:
    with pytest.raises(NotOnce):
        Edit("house.py", "x = 1", "x = 2").applied(text)


def test_workshop_when_one_test_notices_and_others_do_not_then_said_which(tmp_path: Path) -> None:
    """A test that fails, one that passes, and one that could not begin."""
    (tmp_path / "house.py").write_text("LIMIT = 1\n")
    (tmp_path / "test_house.py").write_text(
        "import pytest, house\n"
        "@pytest.fixture\n"
        "def limited(): assert house.LIMIT == 1\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_notices(n): assert house.LIMIT == 1 or n == 2\n"
        "def test_sleeps(): pass\n"
        "def test_cannot_begin(limited): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    edit = Edit("house.py", "LIMIT = 1", "LIMIT = 2")
    tests = tuple(f"test_house.py::test_{name}" for name in ("notices", "sleeps", "cannot_begin"))
    workshop = Workshop(tmp_path)

    verdict = workshop.judge(Defect("limit", "the limit", (edit,), tests))

    assert verdict.missed == tests[1:]
    assert not verdict.is_caught
    assert (tmp_path / "house.py").read_text() == "LIMIT = 1\n"
    nobody = workshop.judge(Defect("limit", "the limit", (edit,), ("test_house.py::test_gone",)))
    assert nobody.trouble
    assert workshop.judge(Defect("limit", "the limit", (edit,), tests[:1])).is_caught


def test_report_when_one_survives_or_nobody_can_say_then_counted_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limit = Defect("limit", "the limit", (), ("test_house.py::test_a", "test_house.py::test_b"))
    caught = Verdict(limit, (), "", 1.0)
    missed = caught._replace(missed=("test_house.py::test_b",))
    unknown = caught._replace(trouble="no test was run")
    assert report(iter([caught, missed, unknown])) == 2
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        "| limit | the limit | test_a, test_b | 1 |",
        "| limit | the limit | SURVIVED test_b | 1 |",
        "| limit | the limit | NOBODY KNOWS: no test was run | 1 |",
    ]
