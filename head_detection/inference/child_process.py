"""Child processes for calls that may crash, such as libraries with processor-specific code.

Parent and child exchange lines of JSON. This module does not import torch, so that a child that
does not need it starts quickly.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from head_detection.errors import printable

ANSWER_SECONDS: Final = 180.0
"""A child silent for longer hangs; loading torch and a network takes 10 s on a busy machine."""
CLOSE_SECONDS: Final = 5.0
SHOWN: Final = 300
"""Characters shown of a child's last line of output."""
_ROOT: Final = Path(__file__).parents[2]

Message = dict[str, Any]
"""Plain values for JSON."""


class ChildError(Exception):
    """A child died, hung or reported an error; the message is one line."""


class ChildProcess:
    """A child process of this Python that runs a module and answers one question at a time.

    Args:
        module: calls ``answer_questions`` when it is run.
        seconds: how long to wait for an answer.
    """

    def __init__(self, module: str, seconds: float = ANSWER_SECONDS) -> None:
        self._seconds = seconds
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

    def ask(self, question: Mapping[str, Any]) -> Message:
        """Send a question and return the answer.

        Raises:
            ChildError: the child died, hung or reported an error.
        """
        given, answers = self._process.stdin, self._process.stdout
        if given is None or answers is None:
            raise TypeError("process: expected one with pipes")
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            self._process.kill()

        timer = threading.Timer(self._seconds, give_up)
        timer.start()
        try:
            given.write(json.dumps(question) + "\n")
            given.flush()
            line = answers.readline()
        except OSError:  # it died before it was asked
            line = ""
        finally:
            timer.cancel()
        if not line.endswith("\n"):  # it may have died while it wrote
            late = f"it gave no answer in {self._seconds:g} s"
            raise ChildError(late if is_late.is_set() else self._last_words())
        answer: Message = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        said = f": {printable(lines[-1].strip())[:SHOWN]}" if lines else ""
        return f"its process {how_it_ended(code)}{said if code > 0 else ''}"

    def close(self) -> None:
        """End the child, even if it hangs."""
        if self._process.stdin is not None:
            with suppress(OSError):  # unsent data is flushed, but the child may be dead
                self._process.stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._words.close()

    def __enter__(self) -> Self:
        """Return the child."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the child."""
        self.close()


def how_it_ended(code: int) -> str:
    """Describe how a process ended, from its ``subprocess`` return code.

    Example:
        >>> how_it_ended(1), how_it_ended(-11)
        ('ended with code 1', 'died of SIGSEGV')
    """
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def answer_questions(answer: Callable[[Message], Message]) -> None:
    """Answer each line of standard input with a line on standard output; runs in the child.

    Output that libraries print goes to standard error. Ctrl-C is left to the parent.

    Args:
        answer: called for each question; an exception becomes an answer with ``error``, one line.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            try:
                said = answer(json.loads(line))
            except Exception as error:  # noqa: BLE001 - the parent reports it
                text = " ".join(str(error).split()) or type(error).__name__
                said = {"error": text[:SHOWN]}
            answers.write(json.dumps(said) + "\n")
            answers.flush()
