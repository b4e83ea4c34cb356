"""The process that decodes a camera, as seen by its parent."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from head_detection.pipeline.camera_opening import Opening

START_SECONDS: Final = 60.0
"""Time limit for a process to start, which takes a tenth of a second unless the machine is very
busy."""
GRACE_SECONDS: Final = 1.0
"""FFmpeg gives up by itself at its time limit; a process that does not is killed this much
later."""
_BOOT: Final = """\
import sys
sys.path[:] = sys.argv[1:]
from head_detection.pipeline.camera_decoder import main
main()
"""


@dataclass(frozen=True)
class Message:
    """A message of the process.

    Attributes:
        kind: ``opening opened frame pixels damaged end``.
        values: those of that kind.
        pixels: ``(H, W, 3)`` uint8 RGB, if there are any.
    """

    kind: str
    values: dict[str, Any]
    pixels: npt.NDArray[np.uint8] | None = None


class DecoderProcess:
    """Starts the process; what it opens goes through a pipe, so that ``ps`` does not show it.

    The process is in no terminal's group: Ctrl-C reaches only the parent, which then ends it. It
    also ends by itself once the parent is gone, for whatever reason.

    Attributes:
        killed_because: why it was killed, or None.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own text
            [sys.executable, "-P", "-c", _BOOT, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.killed_because: str | None = None
        self._deadline = time.monotonic() + START_SECONDS
        self._expected = "its process did not begin"
        self._write(opening.to_line())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def messages(self) -> Iterator[Message]:
        """Yield its messages until it ends; nothing is left of it then."""
        output = cast("BufferedReader", self._process.stdout)
        try:
            with suppress(ValueError):  # a truncated line: it was killed
                for line in output:
                    values = json.loads(line)
                    message = Message(values.pop("kind"), values)
                    if values.get("shape") is not None:
                        pixels = np.empty(values.pop("shape"), np.uint8)
                        if output.readinto(pixels.data.cast("B")) < pixels.nbytes:
                            return
                        message = Message(message.kind, values, pixels)
                    self._expect(message.kind)
                    yield message
        finally:
            self.kill("")
            self._process.wait()
            output.close()
            with suppress(OSError):
                if self._process.stdin is not None:
                    self._process.stdin.close()

    def ask(self) -> None:
        """Request a frame that it announced."""
        self._write(b"take\n")

    def extend(self) -> None:
        """Restart the time limit of its silence, since it waits for us."""
        self._deadline = time.monotonic() + self._opening.read_seconds + GRACE_SECONDS

    def check(self, stood_still: float = 0.0) -> None:
        """Kill it if it has been silent for too long.

        Args:
            stood_still: seconds in which this process could not receive messages.
        """
        self._deadline += stood_still
        if time.monotonic() > self._deadline:
            self.kill(self._expected)

    def kill(self, reason: str) -> None:
        """Kill it at once, wherever it waits."""
        if self.killed_because is None:
            self.killed_because = reason or None
        self._process.kill()

    @property
    def exit_text(self) -> str:
        """How it ended, if it did not say so itself."""
        if self.killed_because is not None:
            return self.killed_because
        code = self._process.returncode
        return (
            f"its process was ended by signal {-code}"
            if code < 0
            else f"its process ended ({code})"
        )

    def _expect(self, kind: str) -> None:
        seconds = self._opening.read_seconds
        if kind == "opening":
            seconds = self._opening.open_seconds
            self._expected = f"no answer for {seconds:g} s"
        elif kind in ("opened", "frame"):
            self._expected = f"no frame for {seconds:g} s"
        else:
            return
        self._deadline = time.monotonic() + seconds + GRACE_SECONDS

    def _write(self, line: bytes) -> None:
        # The pipe is broken if it has just ended: the reader of its messages finds out.
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()
