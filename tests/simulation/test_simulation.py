"""Histories of the money path under faults, the same for the same seed; and that they find what is
wrong. `make simulate` runs many more of them."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.simulation.bugs import BUGS, planted
from tests.simulation.history import run

SEEDS = 200
PARTS = 20
LENGTH_S = 3
# How many seeds a planted defect may live through.
SEEDS_OF_A_BUG = 60


@pytest.fixture(autouse=True)
def databases_of_its_own(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The simulation brings its databases; those of the tests are not touched."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    """Coverage would double the time, and does not follow from one greenlet to the next."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.mark.parametrize("part", range(PARTS))
def test_money_path_in_any_history_keeps_its_invariants(part: int) -> None:
    faults: Counter[str] = Counter()
    for seed in range(part, SEEDS, PARTS):
        outcome = run(seed, LENGTH_S)
        replay = f"make simulate SEED={seed} SECONDS={LENGTH_S}"
        trace = "\n".join(outcome.trace[-40:])
        assert not outcome.violation, f"{outcome.violation}\n{trace}\nagain: {replay}"
        faults += outcome.faults
    assert len(faults) > 5, faults


def test_run_of_the_same_seed_is_the_same_history() -> None:
    first, again, other = run(11, LENGTH_S), run(11, LENGTH_S), run(12, LENGTH_S)
    assert first.digest == again.digest
    assert first.steps == again.steps
    assert first.digest != other.digest


def test_run_in_another_process_is_the_same_history() -> None:
    here = run(13, LENGTH_S)
    there = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "13", "--seconds", str(LENGTH_S)],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert here.digest in there.stdout


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_found(name: str) -> None:
    with planted(name):
        found = any(run(seed, 8).violation for seed in range(SEEDS_OF_A_BUG))
    assert found
