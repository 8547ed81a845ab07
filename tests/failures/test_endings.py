"""The whole platform ends while traders bet, by kill -9 and by SIGTERM, and starts again."""

import os
import re
import signal
import time

import pytest

from tests import stack
from tests.bank.house import SETTINGS
from tests.failures.crowd import Crowd
from tests.servers import short_folder

pytestmark = pytest.mark.timeout(240)
PARTS = 6
STOPPED_S = 5.0


def test_platform_when_killed_and_when_stopped_under_load_then_all_it_said_is_true() -> None:
    with short_folder() as folder:
        with stack.running(folder, **SETTINGS) as running, Crowd(running).betting() as first:
            first.hears("accepted", times=20)
            parts = running.pids()[1:]
            os.kill(running.process.pid, signal.SIGKILL)
            _until_nobody_is_left(first, parts)
            first.hears("not_sent")

        with (
            stack.running(folder, **SETTINGS) as running,
            Crowd(running, before=first).betting() as second,
        ):
            second.hears("accepted", times=20)
            parts = running.pids()[1:]
            began = time.monotonic()
            os.kill(running.process.pid, signal.SIGTERM)
            _until_nobody_is_left(second, parts)
            assert running.process.wait(5) == 0
            assert time.monotonic() - began < STOPPED_S
            second.hears("not_sent")
        assert second.counts()["dependency_unavailable"] > 0
        assert second.counts()["outcome_unknown"] == 0
        said = running.log.read_text().rpartition("SIGTERM: stopping")[2]
        assert "everything has stopped" in said
        assert not re.search(r"killed|Traceback", said), said

        with stack.running(folder, **SETTINGS) as running:
            second.reckon(after=running)


def _until_nobody_is_left(crowd: Crowd, parts: list[int]) -> None:
    assert len(parts) >= PARTS
    crowd.until(lambda: not any(map(stack._alive, parts)), "somebody is left behind")
