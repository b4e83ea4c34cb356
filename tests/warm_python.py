"""A Python that has imported what is slow to import, and runs each command in a fork of itself.

A line of JSON on standard input is one command: ``arguments`` as behind ``python`` (a script and
its arguments, or ``-c`` and code), ``folder`` to run in, ``output`` and ``errors``, files to write,
and ``seconds`` until it is ended. Its exit code is a line on standard output. Nothing of
head_detection is imported before the fork: each command has its own, as any new process does.
"""

import gc
import json
import os
import runpy
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

SLOW: Final = ("torch._dynamo", "torchvision", "timm", "matplotlib.pyplot", "cv2", "scipy.stats")
"""Seconds each time; none of them starts a thread when it is imported."""


def main() -> None:
    """Run the commands until the input ends."""
    for name in SLOW:
        import_module(name)
    gc.freeze()  # or the end of each fork goes through, and copies, all that is imported
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(**json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def become(arguments: list[str], folder: str, output: str, errors: str, seconds: int) -> None:
    """Do what ``python`` does with these arguments; the process then ends as it would.

    Raises:
        SystemExit: as the script does.
    """
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, output, write),
        (2, errors, write),
    ):
        os.dup2(os.open(path, flags, 0o666), number)
    signal.alarm(seconds)
    os.chdir(folder)
    if arguments[0] == "-c":
        sys.argv[:] = ["-c", *arguments[2:]]
        sys.path[0] = ""
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(arguments[1], "<string>", "exec"), namespace)  # noqa: S102
    else:
        sys.argv[:] = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
