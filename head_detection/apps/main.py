"""``head-detection <command>``: readies the process, then runs the command."""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from head_detection.apps.command import run_command
from head_detection.apps.parser import CommandParser, add_commands
from head_detection.inference.memory import keep_freed_memory
from head_detection.version import __version__

COMMANDS: Final = {
    "train": "train a detector from an experiment file",
    "test": "find heads in pictures, write boxes and drawn pictures",
    "evaluate": "measure a detector on labelled pictures",
    "convert": "convert annotations, or weights made by others",
    "export": "write a detector for ONNX or OpenVINO",
    "benchmark": "measure the speed of a detector",
    "serve": "answer requests over HTTP",
    "batch": "find heads in very many pictures, in shards",
    "demo": "find heads in pictures whose number of heads is known",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``head-detection`` and return its exit code.

    Args:
        argv: the command's name and its arguments; None takes the process's own.
    """
    # Threads that spin while they wait take the cores from those that decode pictures, and from
    # others' processes. OpenMP reads this once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    return run_command(run, argv)  # Ctrl-C may come while it imports


def available_commands() -> dict[str, str]:
    """Return name and purpose of the commands that this installation has, in reading order."""
    return {
        name: purpose
        for name, purpose in COMMANDS.items()
        if find_spec(f"head_detection.apps.{name}") is not None
    }


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; its ``run``, given the arguments, is the command.

    Raises:
        SystemExit: help was asked for, 0, or there is a mistake, 2.
    """
    parser = CommandParser(
        prog="head-detection", description="Find and count human heads in pictures."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_commands(parser, available_commands(), "head_detection.apps")
    return parser.parse_args(argv)


def run(argv: Sequence[str] | None = None) -> int:
    """Parse a command line, run it, and return the exit code.

    Raises:
        HeadDetectionError: a mistake of the user, one line.
        SystemExit: as ``parse``.
    """
    arguments = parse(argv)
    exit_code: int = arguments.run(arguments)
    return exit_code
