"""The disk fills up under a platform at work: it is said, then bets are refused, those taken are
paid, and all goes on once there is room."""

import re
from collections.abc import Iterator

import httpx
import pytest

from taptrading.limits import LIMITS, MIB
from tests import stack
from tests.bank.house import SETTINGS
from tests.failures.crowd import Crowd
from tests.servers import short_folder
from tests.small_disk import fill, small_disk

pytestmark = pytest.mark.timeout(240)
RESOLVED = "SELECT count(*) FROM bets_bet WHERE status IN ('won', 'lost', 'void')"
# The margin for bytes is there for logs that grow; this disk is smaller than it is.
ENVIRONMENT = SETTINGS | {"TAP_DISK_KEEP_FREE_BYTES": str(4 * MIB)}


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with (
        short_folder() as folder,
        small_disk(folder / "data", mib=256),
        stack.running(folder, **ENVIRONMENT) as running,
    ):
        running.clock_rate(4.0)
        with Crowd(running).betting() as betting:
            betting.hears("accepted")
            yield betting
        fill(running.folder / "data", 0)
        betting.reckon()


def told(crowd: Crowd, name: str) -> float:
    text = httpx.get(crowd.running.url + "/metrics", timeout=10).text
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_disk_when_it_fills_up_then_it_is_said_and_bets_are_refused_in_time(crowd: Crowd) -> None:
    data = crowd.running.folder / "data"
    assert told(crowd, "data_disk_level") == 0
    for pct, level in ((LIMITS.disk_warn_pct, 1), (LIMITS.disk_clean_pct, 2)):
        fill(data, pct + 1.0)
        crowd.until(lambda level=level: told(crowd, "data_disk_level") == level, "not told")
        since = len(crowd.words)
        crowd.hears("accepted", since=since, times=10)
    fill(data, LIMITS.disk_refuse_pct + 0.8)
    word = crowd.hears("dependency_unavailable", times=20)
    assert word.answer is not None
    assert word.answer.body["detail"] == {"what": "disk"}
    crowd.until(lambda: told(crowd, "data_disk_level") == 3, "not told")
    assert told(crowd, "data_disk_free_ratio") < 0.15  # DiskSpaceLow
    since, resolved = len(crowd.words), crowd.count(RESOLVED)
    crowd.until(lambda: crowd.count(RESOLVED) > resolved, "bets that were taken do not end")
    assert crowd.counts(since)["dependency_unavailable"] > 0
    assert crowd.counts(since)["accepted"] == 0
    fill(data, 0)
    crowd.hears("accepted", times=20)
