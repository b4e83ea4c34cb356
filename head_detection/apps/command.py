"""What a command is made of, and how it ends: its exit code, one line in place of a traceback.

What a command says never decides how it ends: the reader of its messages may go away, the terminal
may not know a letter, the streams may be closed.
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
"""Takes the arguments (None: the process's own), returns the exit code."""

LIBGL: Final = "libGL"
NEEDS_LIBGL: Final = (
    "opencv-python is installed, which needs it; apt-get install libgl1, or "
    "pip install --force-reinstall --no-deps opencv-python-headless"
)
USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
BROKEN_PIPE = 141  # 128 + SIGPIPE
ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""They end a process from outside: the second where its terminal is closed, or its ssh line lost.

Windows has the first alone."""
STANDARD_STREAMS: Final = 3
FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Of a disk, or of a user's share of it."""
UNWINDING_SECONDS: Final = 5.0
"""A lost ssh line sends several signals: one that follows this soon cuts nothing short."""


class UsageError(HeadDetectionError):
    """Options that do not go together, or whose values cannot be used; the text names them."""


def run_command(main: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code of the process.

    A mistake of the user is a ``HeadDetectionError``, or an ``OSError`` that names what the system
    refused (no permission, disk full). It becomes one line on standard error, ``error: ...``, and
    the code 2. A command that has several things to say prints them itself before it raises.
    Ctrl-C gives 130, SIGTERM 143 and SIGHUP 129, after the work is unwound. A reader of results on
    standard output that went away (``--output - | head``) gives 141, in silence; one of messages
    changes nothing. A build of OpenCV whose libGL is missing is told in one line too: the extra
    ``track`` brings it. Any other exception is a fault of the program and keeps its traceback.

    Args:
        main: of a command.
        argv: its arguments; None leaves it to read the process's own.

    Example:
        >>> run_command(lambda argv: len(argv or ()), ["one", "two", "three"])
        3
    """
    with speaking_freely():
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
            if LIBGL not in str(error):
                raise
            print(f"error: {_one_line(error)}: {NEEDS_LIBGL}", file=sys.stderr)
            return USER_ERROR
        finally:
            # Whoever presses Ctrl-C again, or at the very end, would find libraries half unloaded.
            atexit.unregister(ignore_signals)
            atexit.register(ignore_signals)  # behind all of theirs, so that it is called first


class Messages:
    """A text stream for what a command says.

    What is lost (the reader went away, the disk is full) is no error, and a letter that the
    encoding lacks is written as its number. Passwords are hidden. ``buffer``, which takes results,
    fails as ever.

    Args:
        stream: None where the process was started without it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._is_open = stream is not None
        self._stream = stream or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - close()
        with suppress(AttributeError, OSError):  # of a notebook, say
            cast("Any", self._stream).reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or lose, the text."""
        with self._losing():
            self._stream.write(hide_passwords(text))
        return len(text)

    def flush(self) -> None:
        """Write, or lose, what waits."""
        with self._losing():
            self._stream.flush()

    @property
    def buffer(self) -> BinaryIO:
        """Return where results go as bytes.

        Raises:
            OutputError: the process was started without this stream.
        """
        if not self._is_open:
            raise OutputError("standard output: expected it open, for results; it is closed")
        return self._stream.buffer

    def close(self) -> None:
        """Write what waits; close what was opened here."""
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
    """Let both output streams be ``Messages`` in the block."""
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
    """Open nothing as the standard streams that are closed, or files of results get their numbers.

    What a library writes to standard output would then stand in them.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < STANDARD_STREAMS:
        os.set_inheritable(number, True)
    os.close(number)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the work as Ctrl-C does; put the handlers back at the end.

    A signal that is ignored, as ``nohup`` has it, stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}

    heeds_from = 0.0
    heard: list[int] = []  # no exceptions: they would hold their frames, and so each other

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
        # NumPy, for one, makes an ImportError of whatever a signal raises while it is loaded.
        raise _ending_by(heard[-1]) from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ending_by(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Let the first signal that ends the work wait for the end of the block; a second one does not.

    What is written in it is written to all files, and counted.
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
    """Take Ctrl-C from now on, and at once if it came while ``start`` held it back."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def ignore_signals() -> None:
    """Let no signal stop what is brought to its end; ``ending_in_order`` puts the handlers back."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ENDING):
            signal.signal(number, signal.SIG_IGN)


def is_user_error(error: Exception) -> bool:
    """Tell a mistake of the user, whose text is for the user, from a fault of the program.

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
    """Return what the system refused, in its words where they say what to do."""
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
    """Point a stream at nothing, else Python complains again when it flushes at exit."""
    with suppress(OSError):  # of a notebook, say, it has no descriptor
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
