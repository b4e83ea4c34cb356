"""A command as the process that a user starts: started again, once, for glibc to be told before."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Final

RESTARTED: Final = "HEAD_DETECTION_RESTARTED"
"""In the environment of what was started again. glibc's own variable may be gone from there: a
Python that has rights of its own (``setcap``) never gets it."""
_FLAGS: Final = r"-[bBdEiIOPqRsSuvx]*"
_PLAIN: Final = (
    rf"(?:{_FLAGS}(?:[WX]\0?[^\0]+)?\0|--check-hash-based-pycs\0[^\0]+\0)*"
    rf"(?:{_FLAGS}m\0?head_detection|{{script}})"
)
"""What Python was given before the command's own arguments: its flags, then the program."""


def start(*command: str) -> int:
    """Run ``head-detection`` with the arguments of this process, and return the exit code.

    Args:
        command: its name, where the program stands for one.
    """
    hold_interrupts()
    restart_with_fewer_holes()
    from head_detection.apps.main import main  # slow: what is started again has no need of it

    return main([*command, *sys.argv[1:]])


def hold_interrupts() -> None:
    """Let Ctrl-C wait for ``run_command``, which has a line for it; also where it starts again.

    Python, which loads modules of its own and then ours, has a traceback.
    """
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def restart_with_fewer_holes() -> None:
    """Start this process again with ``with_fewer_holes``; return where that is of no use.

    Its number, arguments, open files and working folder stay. It returns where the environment has
    it, where the C library is another, and where something else runs the program: a debugger or a
    profiler would lose it.
    """
    if os.environ.pop(RESTARTED, None) is not None:
        return
    from head_detection.inference.memory import with_fewer_holes  # until then Ctrl-C is Python's

    environment = with_fewer_holes(os.environ)
    if environment == os.environ or not _has_glibc() or not _is_plain(sys.orig_argv, sys.argv):
        return
    try:
        os.execve(  # noqa: S606 - this interpreter, its own arguments
            sys.executable, [sys.executable, *sys.orig_argv[1:]], environment | {RESTARTED: "1"}
        )
    except OSError:  # not allowed to: it is but memory
        return


def _has_glibc() -> bool:
    try:
        return str(os.confstr("CS_GNU_LIBC_VERSION")).startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False


def _is_plain(words: Sequence[str], arguments: Sequence[str]) -> bool:
    r"""Tell whether Python itself runs the program.

    Args:
        words: the command line.
        arguments: what the program was given of it.

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
    if not script or script.startswith("-"):  # read from standard input, which is gone then
        return False
    return bool(re.fullmatch(_PLAIN.format(script=re.escape(script)), "\0".join(words[1:own])))
