"""One child process of the supervisor: its start, its lines, its end.

A child leads its own session, so a Ctrl-C in the terminal reaches the supervisor alone, and the
kernel kills it when the supervisor dies, however that dies.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from taptrading.limits import MIB

_PR_SET_PDEATHSIG: Final = 1
_READ_BYTES: Final = 64 * 1024
# A longer line is cut into pieces of this size, so that no child can fill our memory.
_LINE_BYTES: Final = 64 * 1024
_PIPE_BYTES: Final = MIB
_PARENT_GONE: Final = 125

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(sent: signal.Signals, parent_pid: int) -> bool:
    """This process gets the signal `sent` when its parent dies. False: the parent is gone already.

    The kernel watches the *thread* that forked this process, so a child must be started from a
    thread that lives as long as the program: the main one.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(sent), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    return os.getppid() == parent_pid


class Child:
    """A running process. `on_line` gets what it says, line by line, undecoded ends cut off."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None],
        descriptors: Sequence[int] = (),
    ) -> None:
        """Starts it; of our open files it gets `descriptors` alone, under the same numbers. Raises
        OSError if there is no such program."""
        supervisor = os.getpid()

        def in_child() -> None:
            if not die_with_parent(signal.SIGKILL, supervisor):
                os._exit(_PARENT_GONE)

        self._loop = asyncio.get_running_loop()
        self._on_line = on_line
        self._rest = b""
        # preexec_fn is safe here: the supervisor has one thread, and the function takes no lock.
        self._process = subprocess.Popen(  # noqa: S603
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            preexec_fn=in_child,
            pass_fds=descriptors,
            pipesize=_PIPE_BYTES,
        )
        self.pid = self._process.pid
        self.exited: asyncio.Future[int] = self._loop.create_future()
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def running(self) -> bool:
        return not self.exited.done()

    def send(self, sent: signal.Signals) -> None:
        """To the process itself, which passes on what its own children should know."""
        if self.running:
            signal.pidfd_send_signal(self._pidfd, sent)

    def kill(self) -> None:
        """The whole group, at once."""
        if self.running:
            self._kill_group()

    async def stop(self, bound_s: float) -> bool:
        """SIGTERM, and SIGKILL after `bound_s`. True if it stopped by itself."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(bound_s):
                await asyncio.shield(self.exited)
        except TimeoutError:
            self.kill()
            await self.exited
            return False
        return True

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        # Until it is reaped its number belongs to it, so this reaches its left-behind children
        # and nobody else.
        self._kill_group()
        code = self._process.wait()
        self._drain()
        os.close(self._pidfd)
        self.exited.set_result(code)

    def _read(self) -> bool:
        """One portion of output. False when there is none now, or none ever again."""
        try:
            portion = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        if not portion:
            self._loop.remove_reader(self._output)
            return False
        *lines, self._rest = (self._rest + portion).split(b"\n")
        while len(self._rest) > _LINE_BYTES:
            lines.append(self._rest[:_LINE_BYTES])
            self._rest = self._rest[_LINE_BYTES:]
        for line in lines:
            self._say(line)
        return True

    def _drain(self) -> None:
        while self._read():
            pass
        if self._rest:
            self._say(self._rest)
            self._rest = b""
        self._loop.remove_reader(self._output)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _say(self, line: bytes) -> None:
        self._on_line(line.decode(errors="replace").rstrip())
