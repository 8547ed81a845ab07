"""What a closed column sets off: a task for the workers, or a line in the log."""

from typing import Any

import pytest

from ops.management.commands import run_pricefeed


class Celery:
    def __init__(self, down: bool = False) -> None:
        self.sent: list[str] = []
        self._down = down

    def send_task(self, name: str, **_: Any) -> None:
        if self._down:
            raise ConnectionRefusedError("no broker")
        self.sent.append(name)


def test_ask_for_settlement_when_the_broker_is_there_then_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Celery()
    monkeypatch.setattr(run_pricefeed, "find_app", lambda name: app)
    run_pricefeed.ask_for_settlement(1_764_000_010)
    assert app.sent == ["bets.settle_due_columns"]


def test_ask_for_settlement_when_the_broker_is_down_then_only_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_pricefeed, "find_app", lambda name: Celery(down=True))
    run_pricefeed.ask_for_settlement(1_764_000_010)
    assert "column_start=1764000010" in caplog.text
