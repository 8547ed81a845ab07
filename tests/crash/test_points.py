"""The ledger's process is killed and its disk fails at writes and fsyncs all along a short life.
`make crash-points` takes all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.disk import Action
from tests.crash.points import Nursery, Point, Violation, nursery, spread
from tests.servers import short_folder

pytestmark = pytest.mark.timeout(300)
POINTS = 9  # of each action


@pytest.fixture(scope="module")
def told() -> Iterator[Nursery]:
    with short_folder() as folder, nursery(folder) as made:
        yield made


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
def test_ledger_when_its_disk_fails_anywhere_then_nothing_acknowledged_is_lost(
    told: Nursery, action: Action
) -> None:
    points = spread(told.calls, action, POINTS)
    assert len({point.call for point in points}) == POINTS
    for point in points:
        told.suffer(point)


def test_check_when_the_log_of_acknowledged_batches_is_gone_then_violation(told: Nursery) -> None:
    point = Point(told.calls // 4, Action.KILL_BEFORE)
    found = told.strike(point)
    assert found["said"]
    _log(told).unlink()
    with pytest.raises(Violation):
        told.check(point, found)


def test_check_when_a_batch_is_there_that_nobody_was_told_of_then_violation(told: Nursery) -> None:
    point = Point(told.calls // 2, Action.KILL_AFTER)
    found = told.strike(point)
    del found["said"][-2:]
    with pytest.raises(Violation):
        told.check(point, found)


def _log(told: Nursery) -> Path:
    return told.data / "taptrading.sqlite3-wal"
