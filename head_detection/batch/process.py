"""Starts the process that runs the detector, talks to it, and reports how it ends."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from typing import IO, Any, Final, Protocol

from head_detection.batch.items import Item
from head_detection.cores import set_wait_policy
from head_detection.errors import BatchError, printable
from head_detection.inference.memory import with_fewer_holes

_BOOT: Final = """\
import gc, sys
gc.disable()
sys.path[:] = sys.argv[1:]
from head_detection.batch.detecting import main
main()
"""
"""Code of the process. Garbage collection while loading finds nothing and takes a seventh of it."""


@dataclass(frozen=True)
class WorkerOptions:
    """The options of a worker, as plain values that another process can read.

    Attributes:
        weights: a path, or the name of shipped weights; None for the shipped fast model.
        engine: as for ``HeadDetector.from_weights``, like the next five.
        device: likewise.
        precision: likewise.
        score_threshold: likewise.
        overrides: likewise.
        compile_network: likewise.
        max_pixels: larger pictures are refused; None for the detector's own limit.
        batch_size: most pictures of similar shape in a batch; None for what suits the device.
        threads: number of computing threads; None for torch's default.
        picture_seconds: a picture without an answer for so long is given up.
        visible_devices: value of ``CUDA_VISIBLE_DEVICES`` for it; None for this process's own.
        builder: ``module:function`` that builds the detector from these options.
    """

    weights: str | None = None
    engine: str | None = None
    device: str = "auto"
    precision: str = "auto"
    score_threshold: float | None = None
    overrides: tuple[str, ...] = ()
    compile_network: bool = False
    max_pixels: int | None = None
    batch_size: int | None = None
    threads: int | None = None
    picture_seconds: float = 300.0
    visible_devices: str | None = None
    builder: str = "head_detection.batch.detecting:build_detector"


class Process(Protocol):
    """A process that was started here (``subprocess.Popen``) or taken over (``TakenProcess``).

    Attributes:
        pid: its process id.
        stdin: the pipe for requests.
        stdout: the pipe for answers.
    """

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        ...

    def wait(self) -> int | None:
        """Wait for its end; return its exit code, or None if that is not known."""
        ...


def start_process(options: WorkerOptions) -> subprocess.Popen[bytes]:
    """Start a process that builds its detector; it ends when its standard input is closed."""
    environment = with_fewer_holes(os.environ)
    set_wait_policy(environment)  # may not be set on a cluster
    if options.threads is not None:
        environment["OMP_NUM_THREADS"] = str(options.threads)
    if options.visible_devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = options.visible_devices
    process = subprocess.Popen(  # noqa: S603 - this interpreter, our own text
        [sys.executable, "-P", "-c", _BOOT, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C goes to the parent only, which ends it
        env=environment,
    )
    _write(process, asdict(options))
    return process


def _write(process: Process, message: dict[str, Any]) -> None:
    # The pipe is broken if the process has just ended; the reader of its messages finds out.
    with suppress(OSError, ValueError):
        if process.stdin is not None:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended.

    Attributes:
        reason: for example a signal's name.
        is_overdue: whether it was killed because it did not answer.
        is_own: whether it ended by itself, and would again, rather than being killed.
    """

    reason: str
    is_overdue: bool = False
    is_own: bool = False

    @property
    def error(self) -> str:
        """The error of the picture that it was processing."""
        return self.reason if self.is_overdue else f"broke the process that reads it: {self.reason}"


class Dialogue:
    """Sends requests to a process and reads its messages; nobody else may read them.

    Args:
        process: a process as started by ``start_process``.
        said: output that somebody else has read before: one line, or none.
    """

    def __init__(self, process: Process, said: bytes = b"") -> None:
        self._process = process
        self.pid = process.pid
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        for line in said.splitlines():
            self._messages.put(json.loads(line))
        threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()

    def ask(self, items: Iterable[tuple[int, Item]], *, alone: bool) -> None:
        """Send pictures, with their numbers."""
        numbered = [(number, astuple(item)) for number, item in items]
        _write(self._process, {"alone": alone, "items": numbered})

    def next(self, seconds: float) -> dict[str, Any] | ProcessEnd:
        """Wait for the next message; kill the process if none comes for so many seconds.

        Raises:
            BatchError: the process cannot build the detector.
        """
        start, reason = time.monotonic(), ""
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, start + seconds - time.monotonic()))
            except queue.Empty:
                self.end()
                return ProcessEnd(f"gave no answer within {seconds:g} s", is_overdue=True)
            if message is None:
                text = _exit_text(self.end())
                return ProcessEnd(reason or text, is_own=bool(reason))
            if message["kind"] == "refused":
                raise BatchError(message["reason"])
            if message["kind"] != "broke":
                return message
            reason = printable(message["reason"])

    def end(self) -> int | None:
        """Kill the process and wait for it; callable from any thread, and repeatedly.

        Returns:
            Its exit code; None if that is not known.
        """
        self._process.kill()  # a process that has ended keeps its exit code
        code = self._process.wait()
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        return code

    def _listen(self, output: IO[bytes]) -> None:
        with suppress(ValueError), output:  # a line was cut short by a kill
            for line in output:
                self._messages.put(json.loads(line))
        self._messages.put(None)


def _exit_text(code: int | None) -> str:
    if code is None:
        return "it ended"
    with suppress(ValueError):  # a signal without a name, or none
        return signal.Signals(-code).name
    return f"exit code {code}"
