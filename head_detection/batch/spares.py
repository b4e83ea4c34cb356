"""Detectors that are built while Ray starts, for its first actors to take over.

Torch takes longer to load than Ray to start, and an actor begins when Ray has: one after the other
they are twice the start. So who starts Ray starts these as well, and gives each away by its pipes:
from then on it belongs to the actor that has it, and ends with that, as one of its own would.
"""

import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from head_detection.batch.process import start_process
from head_detection.batch.worker import WorkerOptions

_NUM_FILES: Final = 3
"""Of a process that is given away: where it is asked, where it answers, and itself."""
_TAKE_SECONDS: Final = 5.0
_NUMBER_BYTES: Final = 32
"""At most, of a process's number as text."""


class Spares:
    """Processes that build their detectors, and wait for ``take``; once ended, none is left.

    Args:
        options: of the workers that will have them.
        number: how many.
    """

    def __init__(self, options: WorkerOptions, number: int) -> None:
        self.options = options
        self._number = number
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ending = ExitStack()
        self.path: Path | None = None
        """Where they are taken; None where none can be."""

    def __enter__(self) -> Self:
        self._ending.callback(self._end)
        # Only Linux gives a process away; a name may be too long for a socket, say.
        if self._number and hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.__exit__(kind, error, trace)

    def _begin(self) -> None:
        # A folder of this user alone, for whoever takes one may ask it for any file of theirs.
        folder = tempfile.TemporaryDirectory(prefix="head-detection-")
        path = Path(self._ending.enter_context(folder), "spares")
        listener = self._ending.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(os.fspath(path))
        listener.listen()
        for _ in range(self._number):
            self._processes.append(start_process(self.options))
        thread = threading.Thread(target=self._give, args=(listener, folder), daemon=True)
        thread.start()
        self._ending.callback(thread.join)
        self._ending.callback(_interrupt, listener)
        self.path = path

    def _give(self, listener: socket.socket, folder: "tempfile.TemporaryDirectory[str]") -> None:
        """Give one to each who asks, in turn, until there are none."""
        waiting = deque(self._processes)
        with suppress(OSError), listener:  # interrupted
            while waiting:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # who asked has gone
                    _send(waiting.popleft(), connection)
        folder.cleanup()  # by now: a process that is killed leaves what it has

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            with process:  # closes what was not given away
                process.wait()


def _interrupt(listener: socket.socket) -> None:
    with suppress(OSError):  # closed
        listener.shutdown(socket.SHUT_RDWR)


def _send(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    if process.stdin is None or process.stdout is None:
        return
    itself = os.pidfd_open(
        process.pid
    )  # as long as it is not waited for, nobody else has its number
    try:
        files = [process.stdin.fileno(), process.stdout.fileno(), itself]
        socket.send_fds(connection, [str(process.pid).encode()], files)
    finally:
        os.close(itself)
        process.stdin.close()  # it ends with the last that holds this
        process.stdout.close()


class TakenProcess:
    """A ``process.Process`` of another one's children.

    Args:
        pid: of it.
        stdin: descriptors of its pipes.
        stdout: likewise.
        itself: a descriptor of the process.
    """

    def __init__(self, pid: int, stdin: int, stdout: int, itself: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(stdout, "rb")
        self._itself = itself

    def kill(self) -> None:
        """End it, unless it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._itself, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for its end; how it ended only its parent knows."""
        waiting = select.poll()
        waiting.register(self._itself, select.POLLIN)
        waiting.poll()


def take(path: Path | None) -> TakenProcess | None:
    """Take one that waits there over, on the same machine; None where there is none, or no more."""
    if path is None:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TAKE_SECONDS)
            connection.connect(os.fspath(path))
            number, files, _, _ = socket.recv_fds(
                connection, _NUMBER_BYTES, _NUM_FILES, socket.MSG_CMSG_CLOEXEC
            )
    except OSError:
        return None
    if len(files) != _NUM_FILES:
        for file in files:
            os.close(file)
        return None
    return TakenProcess(int(number), *files)
