"""Builds detectors while Ray is loaded and started, for its first actors to take over.

Torch takes longer to load than Ray to start, and an actor starts only after Ray, so one after the
other would double the start. Therefore the process that starts Ray starts these processes too, and
passes their pipes to the actors. From then on a process belongs to its actor and ends with it. The
starting process also finds out, before Ray is started, if no detector can be built.
"""

import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import threading
from collections import deque
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import IO, Final, Self

from head_detection.batch.process import Dialogue, WorkerOptions, start_process
from head_detection.batch.worker import START_SECONDS
from head_detection.errors import BatchError

_NUM_FILES: Final = 3
"""File descriptors of a process that is handed over: stdin, stdout and the process itself."""
_TAKE_SECONDS: Final = 5.0
_MESSAGE_BYTES: Final = 1 << 16
"""Limit of a process id and its output so far, which describes its model in about a kilobyte."""
_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user and group at the other end of a socket (unix(7), SO_PEERCRED)."""


class Spares:
    """Processes that build their detectors and wait for ``take``; all are ended after the block.

    They are offered at an abstract socket of Linux, which is not a file, so a killed run leaves
    none behind.

    Args:
        options: options of the workers that will take them.
        number: number of processes.
    """

    def __init__(self, options: WorkerOptions, number: int) -> None:
        self.options = options
        self._number = number
        self._processes: list[subprocess.Popen[bytes]] = []
        self._said = b""
        self._ending = ExitStack()
        self.name: str | None = None
        """Name to ``take`` them by, set by ``check``; None if none can be taken."""

    def __enter__(self) -> Self:
        self._ending.callback(self._end)
        if hasattr(os, "pidfd_open"):  # only Linux can hand over a process
            for _ in range(self._number):
                self._processes.append(start_process(self.options))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.__exit__(kind, error, trace)

    def check(self) -> None:
        """Wait until the first detector is built, then hand processes to whoever asks.

        Raises:
            BatchError: no detector can be built from the options; in one line.
        """
        if not self._processes:
            return
        output = self._processes[0].stdout
        waiting = select.poll()
        waiting.register(output or -1, select.POLLIN)
        if output is not None and waiting.poll(1000 * START_SECONDS):
            line = output.readline()  # all of its output: it writes no more until it is asked
            self._said = line if line.endswith(b"\n") else b""
        # A process that breaks writes nothing; then the actor's own process reports the error.
        message = json.loads(self._said or b"{}")
        if message.get("kind") == "refused":
            raise BatchError(message["reason"])
        with suppress(OSError):
            self._begin()

    def _begin(self) -> None:
        name = f"head-detection-{secrets.token_hex(16)}"
        listener = self._ending.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(_address_of(name))
        listener.listen()
        thread = threading.Thread(target=self._give, args=(listener,), daemon=True)
        thread.start()
        self._ending.callback(thread.join)
        self._ending.callback(_interrupt, listener)
        self.name = name

    def _give(self, listener: socket.socket) -> None:
        """Hand one process to each caller, in turn, until there are none left."""
        waiting, said = deque(self._processes), self._said
        with suppress(OSError), listener:  # interrupted
            while waiting:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # the caller has gone
                    if _is_own(connection):
                        _send(waiting.popleft(), said, connection)
                        said = b""

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            with process:  # closes the pipes that were not handed over
                process.wait()


def _address_of(name: str) -> str:
    """Return the address of an abstract socket, which disappears with its listener."""
    return f"\0{name}"


def _is_own(connection: socket.socket) -> bool:
    """Return whether a process of this user is at the other end; others may know the name too."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(found)[1] == os.getuid())


def _interrupt(listener: socket.socket) -> None:
    with suppress(OSError):  # closed
        listener.shutdown(socket.SHUT_RDWR)


def _send(process: subprocess.Popen[bytes], said: bytes, connection: socket.socket) -> None:
    if process.stdin is None or process.stdout is None:
        return
    # The process has not been waited for, so no other process can have its id.
    itself = os.pidfd_open(process.pid)
    try:
        files = [process.stdin.fileno(), process.stdout.fileno(), itself]
        socket.send_fds(connection, [b"%d %b" % (process.pid, said)], files)
    finally:
        os.close(itself)
        process.stdin.close()  # the process ends once nobody holds its standard input
        process.stdout.close()


class TakenProcess:
    """A ``process.Process`` that is the child of another process.

    Args:
        pid: its process id.
        stdin: file descriptor of its standard input.
        stdout: file descriptor of its standard output.
        itself: file descriptor of the process (pidfd).
    """

    def __init__(self, pid: int, stdin: int, stdout: int, itself: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(stdout, "rb")
        self._itself = itself

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._itself, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for its end; only its parent can know the exit code."""
        waiting = select.poll()
        waiting.register(self._itself, select.POLLIN)
        waiting.poll()


def take(name: str | None) -> Dialogue | None:
    """Take over a process that waits under a name on this machine; None if there is none left."""
    if name is None:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TAKE_SECONDS)
            connection.connect(_address_of(name))
            if not _is_own(connection):
                return None
            message, files, _, _ = socket.recv_fds(
                connection, _MESSAGE_BYTES, _NUM_FILES, socket.MSG_CMSG_CLOEXEC
            )
    except OSError:
        return None
    if len(files) != _NUM_FILES:
        for file in files:
            os.close(file)
        return None
    number, _, said = message.partition(b" ")
    return Dialogue(TakenProcess(int(number), *files), said)
