"""``head-detection <command>``: finds the command's file, and imports it only when it is called."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from head_detection.apps.command import Command, command, run_command
from head_detection.version import __version__

COMMANDS = {
    "train": "train a detector from an experiment file",
    "test": "find heads in pictures, write boxes and drawn pictures",
    "evaluate": "measure a detector on labelled pictures",
    "convert": "convert annotations, or weights made by others",
    "export": "write a detector for ONNX or OpenVINO",
    "benchmark": "measure the speed of a detector",
    "serve": "answer requests over HTTP",
    "batch": "find heads in very many pictures on several machines",
    "demo": "find heads in pictures whose number of heads is known",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``head-detection`` and return its exit code.

    Args:
        argv: the command's name and its arguments; None takes the process's own.
    """
    arguments = _create_parser().parse_args(argv)
    if argv is None:
        sys.argv[0] = f"head-detection {arguments.command}"  # what its --help calls itself

    def import_and_run(rest: Sequence[str] | None) -> int:
        return load_command(arguments.command)(rest)

    return run_command(import_and_run, arguments.arguments)  # Ctrl-C may come while it imports


def load_command(name: str) -> Command:
    """Import a command: ``add_arguments`` and ``run``, or a ``main`` of its own."""
    app = import_module(f"head_detection.apps.{name}")
    if hasattr(app, "main"):
        main: Command = app.main
        return main
    return command(COMMANDS[name], app.add_arguments, app.run)


def available_commands() -> dict[str, str]:
    """Return name and purpose of the commands that this installation has, in reading order."""
    return {
        name: purpose
        for name, purpose in COMMANDS.items()
        if find_spec(f"head_detection.apps.{name}") is not None
    }


def _create_parser() -> argparse.ArgumentParser:
    commands = available_commands()
    width = max(map(len, commands), default=0)
    parser = argparse.ArgumentParser(
        prog="head-detection",
        description="Find and count human heads in pictures.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands (each has its own --help):\n"
        + "\n".join(f"  {name:{width}}  {purpose}" for name, purpose in commands.items()),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", choices=commands, metavar="command", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the command")
    return parser
