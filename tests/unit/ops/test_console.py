"""The one log: its form, its file, and that it never waits for the screen."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.console import Console
from taptrading.clock import Clock


class HalfPastNoon(Clock):
    def now_us(self) -> int:
        return (12 * 3_600 + 30 * 60 + 5) * 1_000_000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


def make_console(screen: int, folder: Path) -> Console:
    return Console(screen, folder / "log" / "p.log", ["web", "writer"], clock=HalfPastNoon())


def test_say_when_screen_is_no_terminal_then_plain_line_on_screen_and_in_file(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    console = make_console(pipe[1], tmp_path)

    console.say("web", "ready")

    assert os.read(pipe[0], 4096) == b"12:30:05 web    | ready\n"
    assert (tmp_path / "log" / "p.log").read_text() == "12:30:05 web    | ready\n"


@pytest.mark.parametrize(
    "line",
    [
        "11:22:33.444 INFO    wallet: hello",
        "11:22:33 INFO    wallet: hello",
        "5824:M 22 Nov 2026 10:55:47.817 INFO    wallet: hello",
        "[2026-11-22 10:55:47,817: INFO    wallet: hello",
        "INFO    wallet: hello",
    ],
)
def test_say_when_part_stamps_its_lines_then_one_stamp_is_left(
    pipe: tuple[int, int], tmp_path: Path, line: str
) -> None:
    make_console(pipe[1], tmp_path).say("writer", line)

    assert os.read(pipe[0], 4096) == b"12:30:05 writer | INFO    wallet: hello\n"


def test_say_when_line_holds_terminal_codes_then_they_are_made_harmless(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    make_console(pipe[1], tmp_path).say("web", "a\x1b[2Jb\rc\td")

    assert os.read(pipe[0], 4096) == b"12:30:05 web    | a?[2Jb?c\td\n"


def test_say_when_nobody_reads_the_screen_then_never_waits_and_tells_afterwards(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    console = make_console(pipe[1], tmp_path)
    for number in range(5_000):
        console.say("web", f"line {number}")
    while True:
        try:
            os.read(pipe[0], 65_536)
        except BlockingIOError:
            break

    console.say("web", "again")

    shown = os.read(pipe[0], 4096).decode().splitlines()
    assert shown[0].startswith("... ")
    assert shown[0].endswith("lines are in the log file only")
    assert shown[1] == "12:30:05 web    | again"
    assert len((tmp_path / "log" / "p.log").read_text().splitlines()) == 5_001


def test_say_when_reader_of_the_screen_is_gone_then_the_file_goes_on(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    console = make_console(writer, tmp_path)

    console.say("web", "still here")

    os.close(writer)
    assert "still here" in (tmp_path / "log" / "p.log").read_text()


def test_say_when_lines_are_json_then_the_parts_own_stay_and_others_become_such(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    file = tmp_path / "p.log"
    console = Console(pipe[1], file, ["web"], as_json=True)

    console.say("web", '{"event":"ready","part":"web"}')
    console.say("valkey", "12:30:05 it says 0x" + "ab" * 65)
    console.banner(["it is up", "", "and much more"])

    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert entries[0] == {"event": "ready", "part": "web"}
    assert [(entry["part"], entry["event"]) for entry in entries[1:]] == [
        ("valkey", "12:30:05 it says 0x[hidden]"),
        ("", "it is up"),
    ]
    assert os.read(pipe[0], 4096) == file.read_bytes()


def test_say_when_a_part_tells_a_secret_in_plain_text_then_it_is_hidden(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    make_console(pipe[1], tmp_path).say("web", "Traceback: 0x" + "ab" * 65)
    assert os.read(pipe[0], 4096) == b"12:30:05 web    | Traceback: 0x[hidden]\n"
