"""``head-detection <command>``: prepares the process, then runs the command."""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from head_detection.apps.command import run_command
from head_detection.apps.parser import CommandParser, add_commands
from head_detection.cores import set_wait_policy
from head_detection.inference.memory import keep_freed_memory
from head_detection.version import __version__

COMMANDS: Final = {
    "train": "train or fine-tune a detector",
    "test": "find heads in pictures, videos and cameras",
    "evaluate": "measure a detector on labelled pictures",
    "convert": "convert and check labels; convert weights; check zones",
    "export": "export a detector to ONNX or OpenVINO",
    "benchmark": "measure the speed of a detector",
    "serve": "detect heads over HTTP, for programs and in a web page",
    "batch": "find heads in very many pictures, as a resumable job",
    "demo": "find heads in sample pictures with known heads",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``head-detection`` and return its exit code.

    Args:
        argv: the command's name and its arguments; None takes the process's own.
    """
    set_wait_policy(os.environ)
    keep_freed_memory()
    return run_command(run, argv)  # also handles Ctrl-C while modules are imported


def available_commands() -> dict[str, str]:
    """Return the name and purpose of the commands that this installation has, in help order."""
    return {
        name: purpose
        for name, purpose in COMMANDS.items()
        if find_spec(f"head_detection.apps.{name}") is not None
    }


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; calling its ``run`` with the arguments runs the command.

    Raises:
        SystemExit: 0 after ``--help``, 2 after a mistake.
    """
    parser = CommandParser(
        prog="head-detection", description="Find and count human heads in pictures and videos."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_commands(parser, available_commands(), "head_detection.apps")
    return parser.parse_args(argv)


def run(argv: Sequence[str] | None = None) -> int:
    """Parse a command line, run it, and return the exit code.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
        SystemExit: as ``parse``.
    """
    arguments = parse(argv)
    exit_code: int = arguments.run(arguments)
    return exit_code
