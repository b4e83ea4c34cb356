"""What a command is made of, and how it ends: its exit code, one line in place of a traceback."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from head_detection.errors import HeadDetectionError

Command = Callable[[Sequence[str] | None], int]
"""Takes the arguments (None: the process's own), returns the exit code."""

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
BROKEN_PIPE = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM


class UsageError(HeadDetectionError):
    """Options that do not go together, or whose values cannot be used; the text names them."""


def run_command(main: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code of the process.

    A mistake of the user is a ``HeadDetectionError``, or an ``OSError`` that names what the system
    refused (no permission, disk full). It becomes one line on standard error, ``error: ...``, and
    the code 2. A command that has several things to say prints them itself before it raises.
    Ctrl-C gives 130. A reader of standard output that went away (``| head``) gives 141, in
    silence. Any other exception is a fault of the program and keeps its traceback.

    Args:
        main: of a command.
        argv: its arguments; None leaves it to read the process's own.

    Example:
        >>> run_command(lambda argv: len(argv or ()), ["one", "two", "three"])
        3
    """
    try:
        code = main(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except (ValueError, OSError) as error:
        if not is_user_error(error):
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return USER_ERROR
    return code


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let SIGTERM unwind the work as Ctrl-C does; put the handlers back at the end."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Let no signal stop what is brought to its end; ``ending_in_order`` puts the handlers back."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


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
        reason = error.strerror or os.strerror(error.errno)
        text = reason if error.filename is None else f"{error.filename}: {reason}"
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def _discard_output() -> None:
    """Point standard output at nothing, else Python complains again when it flushes at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
