"""The pulse of an event loop: how late it was, and what is written down with it."""

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from taptrading import metrics, vitals


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often figures were written down."""
    times: list[str] = []
    monkeypatch.setattr(metrics, "_flushers", [lambda: times.append("flushed")])
    monkeypatch.setattr(vitals, "PULSE_S", 0.02)
    return times


def lag_s() -> float:
    return REGISTRY.get_sample_value("event_loop_lag_seconds", {"process": "test"}) or 0.0


def hold_up(seconds: float) -> None:
    """What no coroutine should do."""
    time.sleep(seconds)


async def until_flushed(flushed: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(flushed) < count:
            await asyncio.sleep(0.001)


async def test_pulse_when_the_loop_is_held_up_then_its_lag_is_told(flushed: list[str]) -> None:
    task = asyncio.create_task(vitals.pulse("test"))
    await until_flushed(flushed, 1)
    hold_up(0.15)
    await until_flushed(flushed, len(flushed) + 1)
    assert lag_s() >= 0.1
    task.cancel()


async def test_pulse_when_it_ends_then_the_last_figures_are_written_down(
    flushed: list[str],
) -> None:
    task = asyncio.create_task(vitals.pulse("test"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert flushed == ["flushed"]


async def test_pulse_when_figures_cannot_be_written_down_then_it_goes_on(
    flushed: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        flushed.append("tried")
        raise OSError("no space left on device")

    monkeypatch.setattr(metrics, "_flushers", [fail])
    task = asyncio.create_task(vitals.pulse("test"))
    await until_flushed(flushed, 2)
    assert not task.done()
    assert "figures could not be written down" in caplog.text
    task.cancel()
