"""Starts a command, and restarts the process once so that glibc reads our malloc settings."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Final

RESTARTED: Final = "HEAD_DETECTION_RESTARTED"
"""Marks the environment of a restarted process. glibc's own variable cannot: a Python with
capabilities (``setcap``) never receives it."""
_FLAGS: Final = r"-[bBdEiIOPqRsSuvx]*"
_PLAIN: Final = (
    rf"(?:{_FLAGS}(?:[WX]\0?[^\0]+)?\0|--check-hash-based-pycs\0[^\0]+\0)*"
    rf"(?:{_FLAGS}m\0?head_detection|{{script}})"
)
"""Python's arguments before the command's own: its flags, then the program."""


def start(*command: str) -> int:
    """Run ``head-detection`` with the arguments of this process, and return the exit code.

    Args:
        command: the command's name, if the program is a script for one command.
    """
    hold_interrupts()
    restart_with_fewer_holes()
    from head_detection.apps.main import main  # slow, so not before the restart

    return main([*command, *sys.argv[1:]])


def hold_interrupts() -> None:
    """Block Ctrl-C until ``run_command`` handles it in one line, also across the restart.

    Before that, while modules are imported, Python would print a traceback.
    """
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def restart_with_fewer_holes() -> None:
    """Restart this process with ``with_fewer_holes``; return if that would be of no use.

    Process id, arguments, open files and working folder stay the same. The function returns if the
    environment has the settings already, if the C library is not glibc, and if something other than
    Python runs the program: a debugger or a profiler would lose it.
    """
    if os.environ.pop(RESTARTED, None) is not None:
        return
    from head_detection.inference.memory import with_fewer_holes  # after Ctrl-C is blocked

    environment = with_fewer_holes(os.environ)
    if environment == os.environ or not _has_glibc() or not _is_plain(sys.orig_argv, sys.argv):
        return
    try:
        os.execve(  # noqa: S606 - this interpreter, its own arguments
            sys.executable, [sys.executable, *sys.orig_argv[1:]], environment | {RESTARTED: "1"}
        )
    except OSError:  # not permitted; it would only have saved memory
        return


def _has_glibc() -> bool:
    try:
        return str(os.confstr("CS_GNU_LIBC_VERSION")).startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False


def _is_plain(words: Sequence[str], arguments: Sequence[str]) -> bool:
    r"""Tell whether Python itself runs the program.

    Args:
        words: the whole command line.
        arguments: the program's part of it.

    Example:
        >>> _is_plain(["python", "-uX", "dev", "a b.py", "--help"], ["a b.py", "--help"])
        True
        >>> _is_plain(["python", "-m", "pdb", "a.py"], ["a.py"])
        False
    """
    own = len(words) - len(arguments) + 1
    script, *rest = arguments
    if sys.gettrace() is not None or [*words[own:]] != rest:
        return False
    if not script or script.startswith("-"):  # read from standard input, which is consumed by now
        return False
    return bool(re.fullmatch(_PLAIN.format(script=re.escape(script)), "\0".join(words[1:own])))
