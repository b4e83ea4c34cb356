"""The process that decodes a camera, as the process that started it sees it."""

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
"""A process has so long to begin, which takes a tenth of a second: a machine may be very busy."""
GRACE_SECONDS: Final = 1.0
"""What waits in FFmpeg gives up by itself at its time; what does not is killed so much later."""
_BOOT: Final = """\
import sys
sys.path[:] = sys.argv[1:]
from head_detection.pipeline.camera_decoder import main
main()
"""


@dataclass(frozen=True)
class Message:
    """What the process says.

    Attributes:
        kind: ``opening opened frame pixels damaged end``.
        values: of that kind.
        pixels: ``(H, W, 3)`` uint8 RGB, where there are some.
    """

    kind: str
    values: dict[str, Any]
    pixels: npt.NDArray[np.uint8] | None = None


class DecoderProcess:
    """Starts the process; what it is to open goes through a pipe, not where ``ps`` shows it.

    The process is in no terminal's group: Ctrl-C reaches the one that started it, which ends it.
    It also ends by itself once that one is gone, however.

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
        """Its number."""
        return self._process.pid

    def messages(self) -> Iterator[Message]:
        """Yield what it says until it ends; nothing is left of it then."""
        output = cast("BufferedReader", self._process.stdout)
        try:
            with suppress(ValueError):  # a line that was cut short: it was killed
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
        """Let it send a frame that it announced."""
        self._write(b"take\n")

    def extend(self) -> None:
        """Begin to count anew how long it has been silent: it waits for us."""
        self._deadline = time.monotonic() + self._opening.read_seconds + GRACE_SECONDS

    def check(self, stood_still: float = 0.0) -> None:
        """Kill it where it has been silent for too long.

        Args:
            stood_still: seconds in which nobody here could have heard it.
        """
        self._deadline += stood_still
        if time.monotonic() > self._deadline:
            self.kill(self._expected)

    def kill(self, reason: str) -> None:
        """End it at once, wherever it waits."""
        if self.killed_because is None:
            self.killed_because = reason or None
        self._process.kill()

    @property
    def exit_text(self) -> str:
        """Say how it ended, where it did not say so itself."""
        if self.killed_because is not None:
            return self.killed_because
        code = self._process.returncode
        return f"its process ended by {f'signal {-code}' if code < 0 else f'itself ({code})'}"

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
        # Broken where it has just ended: the reader of its messages finds out.
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()
