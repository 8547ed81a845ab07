"""What the fullness of a disk means."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from taptrading import disk
from taptrading.disk import Level, Room, Watch
from taptrading.limits import Limits

LIMITS = replace(Limits(), disk_keep_free_bytes=10)


@pytest.mark.parametrize(
    ("used", "free", "level"),
    [
        (0, 1_000, Level.FINE),
        (699, 301, Level.FINE),
        (700, 300, Level.WARN),
        (849, 151, Level.WARN),
        (850, 150, Level.CLEAN),
        (949, 51, Level.CLEAN),
        (950, 50, Level.REFUSE),
        (5, 9, Level.REFUSE),  # a small disk: too few bytes, whatever their share
        (5, 10, Level.FINE),
        (0, 0, Level.REFUSE),
    ],
)
def test_level_when_the_disk_is_this_full(used: int, free: int, level: Level) -> None:
    assert Room(used, free).level(LIMITS) is level


def test_spare_then_what_is_free_beyond_what_bets_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LIMITS", LIMITS)
    assert Room(700, 300).spare_bytes == 300 - 50
    assert Room(960, 40).spare_bytes == -10
    assert Room(50, 50).spare_bytes == 50 - 10  # of a small disk the bytes count


def test_room_then_what_the_kernel_says(tmp_path: Path) -> None:
    room = disk.room_in(tmp_path)
    assert room.used_bytes >= 0
    assert room.free_bytes > 0


def test_watch_when_the_level_changes_then_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch()
    for used in (10, 720, 720, 960, 960, 10):
        monkeypatch.setattr(disk, "room", lambda used=used: Room(used << 30, (1_000 - used) << 30))
        watch.look()
        assert watch.refuses == (used == 960)
    said = [(record.levelno, record.message.split()[1]) for record in caplog.records]
    assert said == [
        (logging.WARNING, "level=warn"),
        (logging.CRITICAL, "level=refuse"),
        (logging.CRITICAL, "level=fine"),
    ]


def test_watch_when_the_disk_cannot_be_asked_then_it_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> Room:
        raise OSError("stale file handle")

    watch = Watch()
    watch.level = Level.REFUSE
    monkeypatch.setattr(disk, "room", broken)
    watch.look()
    assert watch.refuses
