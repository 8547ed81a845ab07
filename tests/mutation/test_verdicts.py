"""The verdict on mutants, and the list of those that were looked at."""

from pathlib import Path

import pytest

from tests.mutation.verdicts import Mutant, as_line, judge, read_explained, read_lines

ROOT = Path(__file__).parent.parent.parent
KILLED = Mutant("a.py", "killed", "", "")
SURVIVED = Mutant("a.py", "survived", "x = 1", "x = 2")
REASON = {("a.py", "x = 1", "x = 2"): "nobody reads x"}


def test_verdict_when_nine_of_ten_are_killed_and_the_other_explained_then_passed() -> None:
    verdict = judge([KILLED] * 9 + [SURVIVED], REASON)
    assert (verdict.passed, verdict.unexplained, verdict.stale) == (True, [], [])
    assert [line.split() for line in verdict.table] == [
        ["module", "mutants", "killed", "survived", "%"],
        ["a.py", "10", "9", "1", "90.0"],
        ["all", "10", "9", "1", "90.0"],
    ]


def test_verdict_when_fewer_are_killed_in_one_module_then_failed_whatever_the_rest() -> None:
    others = [Mutant("b.py", "killed", "", "")] * 1_000
    verdict = judge([KILLED] * 8 + [SURVIVED] + others, REASON)
    assert (verdict.passed, verdict.unexplained) == (False, [])
    assert verdict.table[1].split() == ["a.py", "9", "8", "1", "88.8"]


def test_verdict_when_a_survivor_is_not_explained_then_failed_and_named() -> None:
    verdict = judge([KILLED] * 99 + [SURVIVED], {})
    assert (verdict.passed, verdict.unexplained) == (False, [SURVIVED])


@pytest.mark.parametrize("status", ["no tests", "suspicious", "not checked", "skipped"])
def test_verdict_when_a_mutant_was_not_really_tried_then_it_survived(status: str) -> None:
    assert not judge([KILLED] * 99 + [SURVIVED._replace(status=status)], {}).passed


@pytest.mark.parametrize("status", ["timeout", "segfault"])
def test_verdict_when_a_mutant_never_ends_then_it_was_told(status: str) -> None:
    assert judge([KILLED._replace(status=status)], {}).passed


def test_verdict_when_what_no_test_can_tell_was_killed_then_failed_and_named() -> None:
    verdict = judge([KILLED], REASON)
    assert (verdict.passed, verdict.stale) == (False, [("a.py", "x = 1", "x = 2")])


def test_verdict_when_there_are_no_mutants_then_failed() -> None:
    assert not judge([], {}).passed


def test_mutants_when_written_and_read_then_the_same() -> None:
    assert read_lines(as_line(KILLED) + as_line(SURVIVED)) == [KILLED, SURVIVED]


def test_listed_survivors_when_read_then_each_line_still_stands_in_its_file() -> None:
    """A line that was changed since may hide a mutant that nobody has looked at."""
    explained = read_explained(Path(__file__).with_name("survivors.toml"))
    for (path, before, after), reason in explained.items():
        code = " ".join((ROOT / path).read_text().split())
        assert " ".join(before.split()) in code, (path, before)
        assert after != before
        assert reason
