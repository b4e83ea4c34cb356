"""The process that detects, as whoever asks it sees it: what it says, and how it ends."""

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
from head_detection.errors import BatchError, printable
from head_detection.inference.memory import with_fewer_holes

_BOOT: Final = """\
import gc, sys
gc.disable()
sys.path[:] = sys.argv[1:]
from head_detection.batch.detecting import main
main()
"""
"""Collecting garbage among what is loaded, of which there is none, is a seventh of the start."""


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker answers; plain values, for another process.

    Attributes:
        weights: a path, or the name of shipped ones; None is the shipped fast model.
        engine: as ``HeadDetector.from_weights`` takes it, and so the next five.
        device: of it.
        precision: of it.
        score_threshold: of it.
        overrides: of it.
        compile_network: of it.
        max_pixels: larger pictures are refused; None is what the detector refuses.
        batch_size: pictures of like shape at once; None is what suits the device.
        threads: that compute; None is left to torch.
        picture_seconds: a picture without an answer for so long is given up.
        visible_devices: what ``CUDA_VISIBLE_DEVICES`` shows it; None is what is shown here.
        builder: ``module:function`` that makes the detector of these options.
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
    """One that was started here, ``subprocess.Popen``, or taken over, ``spares.TakenProcess``.

    Attributes:
        pid: of it.
        stdin: where it is asked.
        stdout: where it answers.
    """

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def kill(self) -> None:
        """End it, unless it has ended."""
        ...

    def wait(self) -> int | None:
        """Wait for its end; return its exit code, None where that is not known."""
        ...


def start_process(options: WorkerOptions) -> subprocess.Popen[bytes]:
    """Start one that builds its detector; it ends when its standard input is closed."""
    # On a cluster nobody may have said it: waiting threads would take cores from the others.
    environment = with_fewer_holes({"OMP_WAIT_POLICY": "PASSIVE", **os.environ})
    if options.threads is not None:
        environment["OMP_NUM_THREADS"] = str(options.threads)
    if options.visible_devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = options.visible_devices
    process = subprocess.Popen(  # noqa: S603 - this interpreter, our own text
        [sys.executable, "-P", "-c", _BOOT, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches who started it, which ends it
        env=environment,
    )
    _write(process, asdict(options))
    return process


def _write(process: Process, message: dict[str, Any]) -> None:
    # Broken where it has just ended: the reader of its messages finds out.
    with suppress(OSError, ValueError):
        if process.stdin is not None:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended.

    Attributes:
        reason: a signal's name, say.
        is_overdue: it was ended, for it said nothing.
        is_own: it ended itself, and would again: nobody killed it.
    """

    reason: str
    is_overdue: bool = False
    is_own: bool = False

    @property
    def error(self) -> str:
        """What is said of the picture that it had."""
        return self.reason if self.is_overdue else f"broke the process that reads it: {self.reason}"


class Dialogue:
    """Questions to a process, and what it says; from now on nobody else may listen to it.

    Args:
        process: as ``start_process`` starts it.
        said: what somebody else has heard of it before, a line or none.
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
        """Wait for what it says next; where it says nothing for so long, it is ended.

        Raises:
            BatchError: it refuses what it is to build.
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
        """End it at once; nothing is left of it then. From any thread, also again.

        Returns:
            Its exit code, None where that is not known.
        """
        self._process.kill()  # what has ended already keeps its exit code
        code = self._process.wait()
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        return code

    def _listen(self, output: IO[bytes]) -> None:
        with suppress(ValueError), output:  # a line that was cut short: it was killed
            for line in output:
                self._messages.put(json.loads(line))
        self._messages.put(None)


def _exit_text(code: int | None) -> str:
    if code is None:
        return "it ended"
    with suppress(ValueError):  # a signal without a name, or none
        return signal.Signals(-code).name
    return f"exit code {code}"
