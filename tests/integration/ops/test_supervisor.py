"""The supervisor with real, tiny child processes."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from ops import child, probes
from ops.preparing import web_listeners
from ops.supervisor import BackOff, Part, Supervisor
from taptrading.clock import US_PER_S, Clock
from tests.stack import free_port

BOUND_S = 20.0
PYTHON = (sys.executable, "-S", "-E", "-u", "-c")
# Says "up", then waits for ever.
WAITS = "import signal; print('up'); signal.pause()"
# The same, deaf to SIGTERM.
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


class Log:
    """What was said, and a way to wait for it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._more = asyncio.Event()

    def say(self, part: str, line: str) -> None:
        self.lines.append((part, line))
        self._more.set()

    async def until(self, is_enough: Callable[["Log"], bool]) -> None:
        async with asyncio.timeout(BOUND_S):
            while not is_enough(self):
                self._more.clear()
                await self._more.wait()

    def count(self, part: str, text: str) -> int:
        return sum(who == part and text in line for who, line in self.lines)


def make_supervisor(
    *parts: Part, log: Log, folder: Path, first_s: float = 0.01, most_s: float = 0.05
) -> Supervisor:
    return Supervisor(
        parts,
        folder=folder,
        say=log.say,
        on_up=lambda name, took_s: log.say("up", name),
        back_off=lambda: BackOff(first_s=first_s, most_s=most_s),
    )


async def test_run_when_part_crashes_then_restarts_it_with_growing_waits(tmp_path: Path) -> None:
    log = Log()
    part = Part("fails", (*PYTHON, "print('bad luck'); raise SystemExit(3)"))
    supervisor = make_supervisor(part, log=log, folder=tmp_path, most_s=0.04)
    running = asyncio.create_task(supervisor.run())

    await log.until(lambda log: log.count("platform", "fails ended") >= 4)
    supervisor.stop()
    await running

    told = [line for who, line in log.lines if who == "platform"][:4]
    assert told[0].startswith("fails ended with exit code 3")
    assert [line.split(" again in ")[1] for line in told] == [
        "0.01 s",
        "0.02 s",
        "0.04 s",
        "0.04 s",
    ]


async def test_run_when_part_is_killed_then_starts_it_again(tmp_path: Path) -> None:
    log = Log()
    waits = "import os, signal; print(os.getpid()); signal.pause()"
    supervisor = make_supervisor(Part("a", (*PYTHON, waits)), log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())
    await log.until(lambda log: log.count("a", "") == 1)

    os.kill(next(int(line) for who, line in log.lines if who == "a"), signal.SIGKILL)
    await log.until(lambda log: log.count("a", "") == 2)
    supervisor.stop()
    await running

    assert log.count("platform", "a ended by SIGKILL") == 1


async def test_run_when_part_comes_up_again_then_time_is_since_its_own_start(
    tmp_path: Path,
) -> None:
    log = Log()
    took: list[float] = []

    class Hurried(Clock):
        """A hundred seconds pass from one look to the next."""

        looks = count()

        def monotonic_us(self) -> int:
            return next(self.looks) * 100 * US_PER_S

    part = Part("a", (*PYTHON, "raise SystemExit(1)"))
    supervisor = Supervisor(
        [part],
        folder=tmp_path,
        say=log.say,
        on_up=lambda name, took_s: took.append(took_s),
        back_off=lambda: BackOff(first_s=0.01),
        clock=Hurried(),
    )
    running = asyncio.create_task(supervisor.run())
    await log.until(lambda log: log.count("platform", "a ended") == 3)
    supervisor.stop()
    await running

    assert took
    assert set(took) == {100.0}


async def test_run_when_program_is_missing_then_says_so_and_stops_cleanly(tmp_path: Path) -> None:
    log = Log()
    part = Part("ghost", ("/nonexistent/ghost",))
    supervisor = make_supervisor(part, log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())

    await log.until(lambda log: log.count("platform", "ghost cannot be started") == 1)
    supervisor.stop()
    await running

    assert "No such file or directory: '/nonexistent/ghost'" in log.lines[0][1]


async def test_run_when_part_never_comes_up_then_repeats_its_last_words(tmp_path: Path) -> None:
    log = Log()

    async def never() -> bool:
        return False

    part = Part("fails", (*PYTHON, "raise SystemExit('no key')"), probe=never)
    supervisor = make_supervisor(part, log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())

    await log.until(lambda log: log.count("platform", "has never been up (no key)") >= 1)
    supervisor.stop()
    await running

    assert log.count("up", "fails") == 0


async def test_stop_when_all_run_then_last_started_stops_first(tmp_path: Path) -> None:
    log = Log()
    tells = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit()))\n"
        "print('up'); signal.pause()"
    )
    parts = [Part(name, (*PYTHON, tells)) for name in ("first", "second", "third")]
    supervisor = make_supervisor(*parts, log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())
    await log.until(lambda log: all(log.count(part.name, "up") for part in parts))

    supervisor.stop()
    await running

    assert [who for who, line in log.lines if line == "bye"] == ["third", "second", "first"]


async def test_stop_when_part_ignores_sigterm_then_kills_it_after_its_bound(tmp_path: Path) -> None:
    log = Log()
    part = Part("deaf", (*PYTHON, DEAF), stop_s=0.1)
    supervisor = make_supervisor(part, log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())
    await log.until(lambda log: log.count("deaf", "up") == 1)

    supervisor.stop()
    async with asyncio.timeout(BOUND_S):
        await running

    assert log.lines[-1] == ("platform", "deaf did not stop within 0.1 s: killed")


async def test_stop_when_part_left_children_behind_then_they_go_too(tmp_path: Path) -> None:
    log = Log()
    leaves = (
        "import subprocess, sys\n"
        f"print(subprocess.Popen([sys.executable, '-S', '-E', '-u', '-c', {DEAF!r}]).pid)"
    )
    supervisor = make_supervisor(Part("a", (*PYTHON, leaves), once=True), log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())

    await log.until(lambda log: log.count("up", "a") == 1)
    left_behind = next(int(line) for who, line in log.lines if who == "a" and line.isdigit())
    supervisor.stop()
    await running

    assert is_gone(left_behind)


async def test_run_when_part_waits_for_another_then_starts_after_its_probe(tmp_path: Path) -> None:
    log = Log()
    answers = iter([False, False, True])

    async def third_time() -> bool:
        log.say("probe", "asked")
        return next(answers)

    parts = [
        Part("base", (*PYTHON, WAITS), probe=third_time),
        Part("user", (*PYTHON, WAITS), after=("base",)),
    ]
    supervisor = make_supervisor(*parts, log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())

    await log.until(lambda log: log.count("user", "up") == 1)
    supervisor.stop()
    await running

    ups = [line for who, line in log.lines if who == "up"]
    assert ups == ["base", "user"]
    assert log.count("probe", "asked") == 3


async def test_run_when_prerequisite_never_comes_up_then_starts_anyway(tmp_path: Path) -> None:
    log = Log()

    async def never() -> bool:
        return False

    parts = [
        Part("base", (*PYTHON, WAITS), probe=never, up_s=0.05),
        Part("user", (*PYTHON, WAITS), after=("base",)),
    ]
    supervisor = make_supervisor(*parts, log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())

    # Two clocks run, base's and user's, and either may be told first.
    await log.until(lambda log: log.count("user", "up") == 1)
    await log.until(lambda log: log.count("platform", "base runs, but does not answer") == 1)
    supervisor.stop()
    await running

    assert log.count("platform", "user starts although base is not up after 0.05 s") == 1


async def test_run_when_job_fails_once_then_repeats_it_until_it_succeeds(tmp_path: Path) -> None:
    log = Log()
    job = (
        "import os, sys\n"
        "if os.path.exists('tried'): sys.exit(print('done'))\n"
        "open('tried', 'w').close(); sys.exit(1)"
    )
    supervisor = make_supervisor(Part("job", (*PYTHON, job), once=True), log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())

    await log.until(lambda log: log.count("up", "job") == 1)
    supervisor.stop()
    await running

    assert log.count("platform", "job ended with exit code 1") == 1
    assert log.count("job", "done") == 1


async def test_child_when_line_has_no_end_then_it_is_cut_and_memory_bounded(tmp_path: Path) -> None:
    log = Log()
    most = child._LINE_BYTES
    length = 2 * most + 3_616
    shouts = (
        f"import signal, sys; sys.stdout.write('x' * {length}); sys.stdout.flush(); signal.pause()"
    )
    supervisor = make_supervisor(Part("a", (*PYTHON, shouts)), log=log, folder=tmp_path)
    running = asyncio.create_task(supervisor.run())

    await log.until(lambda log: log.count("a", "x") == 2)
    supervisor.stop()
    await running

    assert [len(line) for who, line in log.lines if who == "a"] == [most, most, 3_616]


SUPERVISES = """
import asyncio, sys
from pathlib import Path
from ops.lock import AlreadyRunning, FolderLock
from ops.supervisor import Part, Supervisor

async def main():
    python = (sys.executable, "-S", "-E", "-u", "-c")
    waits = "import os, signal; print('pid', os.getpid()); signal.pause()"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + waits
    supervisor = Supervisor(
        [Part("a", (*python, waits)), Part("b", (*python, deaf), stop_s=0.2)],
        folder=Path.cwd(),
        say=lambda part, line: print(part, line, flush=True),
    )
    supervisor.handle_signals()
    await supervisor.run()

try:
    FolderLock(Path(sys.argv[1]) / "lock").take()
except AlreadyRunning as problem:
    sys.exit(f"refused: {problem}")
asyncio.run(main())
print("all stopped", flush=True)
"""


Starting = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_supervisor(tmp_path: Path) -> Iterator[Starting]:
    """Starts supervisors that do not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str = SUPERVISES) -> "subprocess.Popen[str]":
        supervisor = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(supervisor)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.kill()
        supervisor.communicate()


def read_child_pids(supervisor: "subprocess.Popen[str]", number: int) -> list[int]:
    assert supervisor.stdout is not None
    pids: list[int] = []
    while len(pids) < number:
        line = supervisor.stdout.readline()
        assert line, "the supervisor ended early"
        words = line.split()
        if words[1] == "pid":
            pids.append(int(words[2]))
    return pids


def is_gone(pid: int, bound_s: float = BOUND_S) -> bool:
    """True as soon as the process has ended; a zombie that nobody reaped counts as ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], bound_s)[0])
    finally:
        os.close(pidfd)


def test_kill_nine_when_parts_run_then_no_orphan_and_next_start_works(
    start_supervisor: Starting,
) -> None:
    supervisor = start_supervisor()
    children = read_child_pids(supervisor, 2)

    supervisor.kill()
    supervisor.communicate(timeout=BOUND_S)

    assert all(is_gone(pid) for pid in children)
    successor = start_supervisor()
    read_child_pids(successor, 2)
    successor.terminate()
    output, _ = successor.communicate(timeout=BOUND_S)
    assert output.endswith("all stopped\n")


def test_take_lock_when_a_supervisor_runs_then_second_is_refused_with_its_pid(
    start_supervisor: Starting,
) -> None:
    supervisor = start_supervisor()
    read_child_pids(supervisor, 2)

    second = start_supervisor()
    output, _ = second.communicate(timeout=BOUND_S)

    supervisor.terminate()
    supervisor.communicate(timeout=BOUND_S)
    assert second.returncode == 1
    assert output.startswith("refused: the platform already runs on ")
    assert f"as process {supervisor.pid}:" in output


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_when_parts_run_then_all_stop_in_order_and_none_is_left(
    start_supervisor: Starting, sent: signal.Signals
) -> None:
    supervisor = start_supervisor()
    children = read_child_pids(supervisor, 2)

    supervisor.send_signal(sent)
    output, _ = supervisor.communicate(timeout=BOUND_S)

    assert supervisor.returncode == 0
    assert output.splitlines() == [
        f"platform {sent.name}: stopping",
        "platform b did not stop within 0.2 s: killed",
        "all stopped",
    ]
    assert all(is_gone(pid, 0.0) for pid in children)


def test_second_signal_when_a_part_is_deaf_then_kills_at_once(start_supervisor: Starting) -> None:
    supervisor = start_supervisor(SUPERVISES.replace("stop_s=0.2", "stop_s=600"))
    children = read_child_pids(supervisor, 2)
    assert supervisor.stdout is not None

    supervisor.terminate()
    assert supervisor.stdout.readline() == "platform SIGTERM: stopping\n"
    supervisor.terminate()
    output, _ = supervisor.communicate(timeout=BOUND_S)

    assert output.endswith("all stopped\n")
    assert all(is_gone(pid, 0.0) for pid in children)


# Says who it is to whoever connects to the socket that it was handed.
SERVES = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""
# Listens, and goes on when it is asked to stop.
ENDS_SLOWLY = """
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: print(os.getpid()))
listener = socket.socket(fileno=int(sys.argv[1]))
listener.listen()
while True:
    signal.pause()
"""


# Dies before it listens, the first time, then gives back what it is told.
STUMBLES = """
import os, signal, socket, sys
if not os.path.exists("stumbled"):
    open("stumbled", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
listener = socket.socket(fileno=int(sys.argv[1]))
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100))
    connection.close()
"""


def serving(name: str, listener: socket.socket) -> Part:
    command = (*PYTHON, SERVES, str(listener.fileno()))
    return Part(name, command, listener=listener, probe=probes.listens(listener))


async def who_answers(port: int) -> set[int]:
    """The processes that answer forty connections, of which none waits for long."""
    answered = set()
    async with asyncio.timeout(BOUND_S):
        for _ in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answered.add(int(await reader.read()))
            writer.close()
    return answered


async def test_run_when_one_of_two_on_a_port_is_killed_then_the_other_serves_and_it_returns(
    tmp_path: Path,
) -> None:
    log, port = Log(), free_port()
    with web_listeners("127.0.0.1", port, 2) as (first, second):
        parts = serving("web", first), serving("web-2", second)
        supervisor = make_supervisor(*parts, log=log, folder=tmp_path, first_s=0.5, most_s=0.5)
        running = asyncio.create_task(supervisor.run())
        await log.until(lambda log: log.count("up", "web") == 2)
        both = await who_answers(port)
        assert len(both) == 2

        killed = both.pop()
        os.kill(killed, signal.SIGKILL)
        await log.until(lambda log: log.count("platform", "ended by SIGKILL") == 1)
        assert await who_answers(port) == both
        await log.until(lambda log: log.count("up", "web") == 3)
        again = await who_answers(port)
        assert both < again

        supervisor.stop()
        await running
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_stop_when_program_is_slow_to_end_then_newcomers_are_refused_meanwhile(
    tmp_path: Path,
) -> None:
    log, port = Log(), free_port()
    with web_listeners("127.0.0.1", port, 1) as (listener,):
        command = (*PYTHON, ENDS_SLOWLY, str(listener.fileno()))
        part = Part("web", command, listener=listener, probe=probes.listens(listener))
        supervisor = make_supervisor(part, log=log, folder=tmp_path)
        running = asyncio.create_task(supervisor.run())
        await log.until(lambda log: log.count("up", "web") == 1)

        supervisor.stop()
        await log.until(lambda log: log.count("web", "") == 1)

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        os.kill(next(int(line) for who, line in log.lines if who == "web"), signal.SIGKILL)
        await running


async def test_run_when_part_died_before_it_listened_then_it_is_heard_once_it_does(
    tmp_path: Path,
) -> None:
    log, port = Log(), free_port()
    with web_listeners("127.0.0.1", port, 1) as (listener,):
        command = (*PYTHON, STUMBLES, str(listener.fileno()))
        part = Part("web", command, listener=listener, probe=probes.listens(listener))
        supervisor = make_supervisor(part, log=log, folder=tmp_path)
        running = asyncio.create_task(supervisor.run())
        await log.until(lambda log: log.count("up", "web") == 1)

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"are you there?")
        async with asyncio.timeout(BOUND_S):
            assert await reader.read() == b"are you there?"
        writer.close()
        supervisor.stop()
        await running


async def test_run_when_part_has_a_listener_then_no_other_part_gets_it(tmp_path: Path) -> None:
    log = Log()
    asks = "import os; print(os.path.exists('/proc/self/fd/%d')); import signal; signal.pause()"
    with web_listeners("127.0.0.1", free_port(), 1) as (listener,):
        command = (*PYTHON, asks % listener.fileno())
        parts = Part("web", command, listener=listener), Part("other", command)
        supervisor = make_supervisor(*parts, log=log, folder=tmp_path)
        running = asyncio.create_task(supervisor.run())
        await log.until(lambda log: log.count("web", "") == log.count("other", "") == 1)
        supervisor.stop()
        await running

    assert ("web", "True") in log.lines
    assert ("other", "False") in log.lines
