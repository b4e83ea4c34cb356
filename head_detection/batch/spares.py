"""Detectors that are built while Ray is loaded and starts, for its first actors to take over.

Torch takes longer to load than Ray to start, and an actor begins when Ray has: one after the other
they are twice the start. So who starts Ray starts these as well, and gives each away by its pipes:
from then on it belongs to the actor that has it, and ends with that, as one of its own would. And
what no detector can be built of is known before Ray is started at all.
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
"""Of a process that is given away: where it is asked, where it answers, and itself."""
_TAKE_SECONDS: Final = 5.0
_MESSAGE_BYTES: Final = 1 << 16
"""At most, of a process's number, and of what it has said: what its model is, a kilobyte."""
_CREDENTIALS: Final = struct.Struct("3i")
"""Of who is at the other end of a socket: process, user, group (unix(7), SO_PEERCRED)."""


class Spares:
    """Processes that build their detectors, and wait for ``take``; once ended, none is left.

    They wait at a socket of Linux's that is no file, so a run that is killed leaves none.

    Args:
        options: of the workers that will have them.
        number: how many.
    """

    def __init__(self, options: WorkerOptions, number: int) -> None:
        self.options = options
        self._number = number
        self._processes: list[subprocess.Popen[bytes]] = []
        self._said = b""
        self._ending = ExitStack()
        self.name: str | None = None
        """Where they are taken, once ``check`` has returned; None where none can be."""

    def __enter__(self) -> Self:
        self._ending.callback(self._end)
        if hasattr(os, "pidfd_open"):  # only Linux gives a process away
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
        """Wait until the first is built, then give them to whoever asks.

        Raises:
            BatchError: no detector can be built of such options. One line.
        """
        if not self._processes:
            return
        output = self._processes[0].stdout
        waiting = select.poll()
        waiting.register(output or -1, select.POLLIN)
        if output is not None and waiting.poll(1000 * START_SECONDS):
            line = output.readline()  # all of it: it says no more until it is asked
            self._said = line if line.endswith(b"\n") else b""
        # A process that breaks says nothing; an actor's own may, too, which tells of it.
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
        """Give one to each who asks, in turn, until there are none."""
        waiting, said = deque(self._processes), self._said
        with suppress(OSError), listener:  # interrupted
            while waiting:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # who asked has gone
                    if _is_own(connection):
                        _send(waiting.popleft(), said, connection)
                        said = b""

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            with process:  # closes what was not given away
                process.wait()


def _address_of(name: str) -> str:
    """Return the address of a socket that is no file: it is gone with who listens."""
    return f"\0{name}"


def _is_own(connection: socket.socket) -> bool:
    """Tell whether a process of this user is at the other end: others may know the name."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(found)[1] == os.getuid())


def _interrupt(listener: socket.socket) -> None:
    with suppress(OSError):  # closed
        listener.shutdown(socket.SHUT_RDWR)


def _send(process: subprocess.Popen[bytes], said: bytes, connection: socket.socket) -> None:
    if process.stdin is None or process.stdout is None:
        return
    itself = os.pidfd_open(
        process.pid
    )  # as long as it is not waited for, nobody else has its number
    try:
        files = [process.stdin.fileno(), process.stdout.fileno(), itself]
        socket.send_fds(connection, [b"%d %b" % (process.pid, said)], files)
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


def take(name: str | None) -> Dialogue | None:
    """Take one that waits there over, on the same machine; None where there is none, or no more."""
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
