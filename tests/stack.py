"""The whole platform as real processes, started by its own supervisor in a folder of its own."""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx

from taptrading.clock import write_shared_clock

ROOT = Path(__file__).resolve().parent.parent
START_S = 100.0


class Stack:
    """A running platform: `url`, `domain`, its processes, and its clock."""

    def __init__(self, folder: Path, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.port = port
        self.process = process
        self.domain = f"127.0.0.1:{port}"
        self.url = f"http://{self.domain}"
        self.log = folder / "stdout.log"

    def clock_rate(self, rate: float) -> None:
        """From now on all processes' time runs this fast."""
        from taptrading.clock import SharedClock

        path = self.folder / "clock"
        write_shared_clock(path, now_us=SharedClock(path).now_us(), rate=rate)

    def manage(self, *words: str) -> str:
        """Run a `manage.py` command on this platform's data. Returns what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=os.environ
            | {
                "DATA_DIR": str(self.folder / "data"),
                "CLOCK_FILE": str(self.folder / "clock"),
            },
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def pid_of(self, words: str) -> int:
        """The process of ours whose command line holds these words."""
        for pid in self.pids():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except FileNotFoundError:
                continue
            if words in line and pid != self.process.pid:
                return pid
        raise AssertionError(f"no process of ours runs {words!r}")

    def pids(self) -> list[int]:
        """The supervisor and its descendants."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += [child for child, parent in parents.items() if parent == pid]
        return found

    def wait_for_file(self, path: Path, timeout_s: float = START_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not path.exists():
            assert time.monotonic() < deadline, f"{path} is not there"
            time.sleep(0.05)

    def wait_for(self, what: str, timeout_s: float = START_S) -> dict[str, object]:
        """Poll a GET until it answers 200. Returns its JSON."""
        deadline = time.monotonic() + timeout_s
        answer = "nothing"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                response = httpx.get(self.url + what, timeout=2)
                answer = response.text
                if response.status_code == 200:
                    found: dict[str, object] = response.json()
                    return found
            except httpx.TransportError as error:
                answer = repr(error)
            time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-4_000:]
        raise AssertionError(f"{what} did not answer: {answer}\n{tail}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@cache
def _prepared() -> Path:
    """A data folder with current tables and static files, made once a process: a platform that
    finds none needs half of its start for them. That it does is tested by those who say so."""
    folder = tempfile.mkdtemp(prefix="tap-prepared-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    words = "from ops import preparing as p; p.migrate_if_due(); p.collect_static_if_stale()"
    subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", words],
        cwd=ROOT,
        env=_inherited() | {"DATA_DIR": folder},
        check=True,
    )
    return Path(folder)


def _copied(source: str, target: str) -> None:
    """Files that only ever change by being replaced are shared."""
    if "/static/" in source:
        with contextlib.suppress(OSError):  # on another disk
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("TAP_", "COV"))}


@contextmanager
def running(folder: Path, *, prepared: bool = True, **environment: str) -> Iterator[Stack]:
    """Start the platform in `folder` and stop it afterwards; `environment` are settings. Unless it
    is `prepared`, it finds no data there at its first start."""
    folder.mkdir(parents=True, exist_ok=True)
    if prepared and not (folder / "data").exists():
        shutil.copytree(_prepared(), folder / "data", copy_function=_copied)
    clock_file = folder / "clock"
    if not clock_file.exists():
        write_shared_clock(clock_file, now_us=time.time_ns() // 1_000)
    port = free_port()
    settings = {
        "DATA_DIR": str(folder / "data"),
        "CLOCK_FILE": str(clock_file),
        "WEB_PORT": str(port),
        "DOMAIN": f"127.0.0.1:{port}",
        "PYTHONUNBUFFERED": "1",
    }
    with (folder / "stdout.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "runplatform", "--stop-with-parent"],
            cwd=ROOT,
            env=_inherited() | settings | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    stack = Stack(folder, port, process)
    try:
        stack.wait_for("/health/readiness")
        yield stack
    finally:
        pids = stack.pids()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            left = [pid for pid in pids if _alive(pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            assert not left, f"processes left behind: {left}"


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
