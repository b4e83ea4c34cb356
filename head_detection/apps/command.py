"""Runs a command and ends it: with its exit code, and one line instead of a traceback.

A command's messages never change how it ends: their reader may go away, the terminal may lack a
character, and the streams may be closed.
"""

import atexit
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final, TextIO, cast

from head_detection.errors import HeadDetectionError, OutputError, hide_passwords, printable

Command = Callable[[Sequence[str] | None], int]
"""Takes the arguments (None for the process's own), and returns the exit code."""

NEEDS_LIBRARIES: Final = (
    "opencv-python is installed, which needs it; apt-get install libgl1 libglib2.0-0, or "
    "pip install --force-reinstall --no-deps opencv-python-headless"
)
USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
BROKEN_PIPE = 141  # 128 + SIGPIPE
ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that end a process; SIGHUP comes when its terminal is closed or its ssh connection lost.

Windows only has SIGTERM."""
STANDARD_STREAMS: Final = 3
FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""The disk is full, or the user's quota of it is used up."""
UNWINDING_SECONDS: Final = 5.0
"""A lost ssh connection sends several signals; within this time, further ones are ignored."""


class UsageError(HeadDetectionError):
    """Options that do not go together or have unusable values; the message names them."""


def run_command(main: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code of the process.

    A mistake of the user is a ``HeadDetectionError``, or an ``OSError`` that names what the system
    refused (no permission, disk full). It becomes one line on standard error, ``error: ...``, and
    exit code 2. A command with more to report prints it before it raises. Ctrl-C gives 130, SIGTERM
    143 and SIGHUP 129, after the work is unwound. If the reader of results on standard output goes
    away (``--output - | head``), the code is 141, without a message; if only the reader of messages
    does, nothing changes. A system library that OpenCV lacks (libxcb, libGL, libgthread) is also
    reported in one line, since the extra ``track`` installs a build of OpenCV for displays. Any
    other exception is a fault of the program and keeps its traceback.

    Args:
        main: of a command.
        argv: its arguments; None for the process's own.

    Example:
        >>> run_command(lambda argv: len(argv or ()), ["one", "two", "three"])
        3
    """
    with speaking_freely(), _finalizers_told():
        try:
            with ending_in_order():
                return main(argv)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            _discard(sys.stdout)
            return BROKEN_PIPE
        except (ValueError, OSError) as error:
            if not is_user_error(error):
                raise
            print(f"error: {_one_line(error)}", file=sys.stderr)
            return USER_ERROR
        except ImportError as error:
            if error.name != "cv2" or ".so" not in str(error):
                raise
            print(f"error: {_one_line(error)}: {NEEDS_LIBRARIES}", file=sys.stderr)
            return USER_ERROR
        finally:
            # A late Ctrl-C would otherwise hit libraries that are half unloaded.
            atexit.unregister(ignore_signals)
            atexit.register(ignore_signals)  # registered last, so that it is called first


class Messages:
    """A text stream for a command's messages.

    A message that is lost (the reader went away, the disk is full) is no error, and characters that
    the encoding lacks are written as escapes. Passwords are hidden. ``buffer``, which takes
    results, fails as usual.

    Args:
        stream: None if the process was started without it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._is_open = stream is not None
        self._stream = stream or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - close()
        with suppress(AttributeError, OSError):  # a notebook's stream, for example
            cast("Any", self._stream).reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write the text, or lose it."""
        with self._losing():
            self._stream.write(hide_passwords(text))
        return len(text)

    def flush(self) -> None:
        """Write buffered text, or lose it."""
        with self._losing():
            self._stream.flush()

    @property
    def buffer(self) -> BinaryIO:
        """Return the binary stream for results.

        Raises:
            OutputError: the process was started without this stream.
        """
        if not self._is_open:
            raise OutputError("standard output: expected it open, for results; it is closed")
        return self._stream.buffer

    def close(self) -> None:
        """Write buffered text, and close the stream if it was opened here."""
        self.flush()
        if not self._is_open:
            self._stream.close()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def speaking_freely() -> Iterator[None]:
    """Replace both output streams by ``Messages`` in the block."""
    before = sys.stdout, sys.stderr
    _occupy_descriptors()
    with ExitStack() as stack:
        messages = [Messages(stream) for stream in before]
        for stream in messages:
            stack.callback(stream.close)
        sys.stdout, sys.stderr = cast("tuple[TextIO, TextIO]", messages)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def _occupy_descriptors() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise result files would get their numbers, and a library that writes to standard output
    would write into them.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < STANDARD_STREAMS:
        os.set_inheritable(number, True)
    os.close(number)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the work as Ctrl-C does, and restore the handlers at the end.

    A signal that is already ignored, such as by ``nohup``, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}

    heeds_from = 0.0
    heard: list[int] = []  # not exceptions, which would keep their frames alive

    def end(number: int, _frame: object) -> None:
        nonlocal heeds_from
        if time.monotonic() >= heeds_from:
            heeds_from = time.monotonic() + UNWINDING_SECONDS
            heard.append(number)
            raise _ending_by(number)

    def interrupt(number: int, _frame: object) -> None:
        heard.append(number)
        raise _ending_by(number)

    heeded = [number for number in ENDING if previous[number] is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, end)
    if previous[signal.SIGINT] is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        heed_interrupts()
        yield
    except Exception as error:
        if not heard or is_user_error(error):
            raise
        # NumPy, for example, turns whatever a signal raises during its import into an ImportError.
        raise _ending_by(heard[-1]) from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ending_by(number: int) -> BaseException:
    # Objects that the signal leaves half built, such as tqdm's bars, fail as they are freed.
    sys.unraisablehook = _tell_nothing
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _tell_nothing(_failure: object) -> None:
    """Replace ``sys.unraisablehook``, which prints a traceback."""


@contextmanager
def _finalizers_told() -> Iterator[None]:
    """Let Python tell of failing finalizers again at the end of the block, if the process goes on.

    A ``SystemExit`` holds the objects of the frames it unwound until the process ends.
    """
    tell = sys.unraisablehook
    try:
        yield
    finally:
        if not isinstance(sys.exception(), SystemExit):
            sys.unraisablehook = tell


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Delay the first signal that ends the work until the end of the block, but not a second one.

    So everything written in the block is written to all files and counted.
    """
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {
        number: handler
        for number in (signal.SIGINT, *ENDING)
        if callable(handler := signal.getsignal(number))
    }
    waiting: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        if len(waiting) > 1:
            handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            handlers[waiting[0]](waiting[0], None)


def heed_interrupts() -> None:
    """Accept Ctrl-C from now on, and at once if it came while ``start`` blocked it."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def ignore_signals() -> None:
    """Ignore signals while work is being finished; ``ending_in_order`` restores the handlers."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ENDING):
            signal.signal(number, signal.SIG_IGN)


def is_user_error(error: Exception) -> bool:
    """Return whether an error is a mistake of the user rather than a fault of the program.

    Example:
        >>> is_user_error(PermissionError(13, "Permission denied", "runs"))
        True
        >>> is_user_error(ValueError("shapes do not match"))
        False
    """
    if isinstance(error, OSError) and error.errno is not None:
        return True
    return isinstance(error, HeadDetectionError)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        reason = _reason(error)
        text = reason if error.filename is None else f"{error.filename}: {reason}"
    else:
        text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))


def _reason(error: OSError) -> str:
    """Return what the system refused, with a remedy if its own words do not suggest one."""
    reason = error.strerror or os.strerror(error.errno or 0)
    match error:
        case OSError() if error.errno in FULL:
            return f"expected room on its disk; {reason}: free some, or write to another disk"
        case FileExistsError() if not os.path.isdir(error.filename or ""):  # noqa: PTH112 - may be bytes
            return "expected a folder; a file is there: choose another name"
        case NotADirectoryError():
            return "expected folders above it; one of them is a file: choose another place"
        case IsADirectoryError():
            return "expected a file; a folder is there: choose another name"
        case _:
            return reason


def _discard(stream: TextIO) -> None:
    """Redirect a stream to the null device, or Python complains again when it flushes at exit."""
    with suppress(OSError):  # a notebook's stream has no descriptor
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
