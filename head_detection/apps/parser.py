"""Parses commands and options; a misspelt one is reported at once, with the likely correction.

A command is a module with ``add_arguments(parser)`` and ``run(arguments)``, which returns the exit
code. Only the requested command is imported, and only its ``run`` imports torch, so that a mistake
in the options is reported without seconds of loading.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, Never

from head_detection.images.finding import special_kind

NAME = re.compile(r"--?[A-Za-z]")
"""The beginning of an option; ``-`` and ``-1`` are values."""


class CommandParser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line.

    Attributes:
        module: of the command, imported when its arguments are parsed; empty if the parser has its
            options already.
        other_names: for names of options in other programs, what to type here instead.
    """

    module = ""
    other_names: Mapping[str, str] = MappingProxyType({})

    def __init__(self, *args: Any, **options: Any) -> None:
        # An abbreviation that is unique today may be ambiguous tomorrow.
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self.suggest_on_error = False  # from Python 3.15 on, argparse would correct a word as well

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Let the command declare its options, then parse as usual."""
        args = sys.argv[1:] if args is None else list(args)
        if self.module:
            command, self.module = import_module(self.module), ""
            self.set_defaults(run=command.run, words=list(args))
            command.add_arguments(self)
        # Words after a command's name belong to that command.
        own = args if self._subparsers is None else takewhile(NAME.match, args)
        self._check_names(own)
        parsed, left = super().parse_known_args(args, namespace)
        if left:  # reported here, where the parser is that of the command
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return parsed, left

    def error(self, message: str) -> Never:
        """Report the mistake in one line, without the usage, and exit."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Read a value; refuse a path as ``path_text`` does."""
        value = super()._get_value(action, arg_string)
        if isinstance(value, Path):
            try:
                path_text(str(value) if arg_string else "")  # Path("") is the working folder
            except argparse.ArgumentTypeError as error:
                raise argparse.ArgumentError(action, str(error)) from error
        return value

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Add the likely correction to the error."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            close = difflib.get_close_matches(str(value), map(str, action.choices or ()), n=1)
            error.message += f", did you mean {close[0]}?" if close else ""
            raise

    def _check_names(self, words: Iterable[str]) -> None:
        options = list(self._option_string_actions)
        for word in takewhile(lambda word: word != "--", words):
            name = word.partition("=")[0]
            is_name = NAME.match(name) and " " not in word
            if is_name and name not in options:
                other = self.other_names.get(name)
                begun = [option for option in options if option.startswith(name)]
                close = [other] if other else difflib.get_close_matches(name, options, n=1) or begun
                meant = f", did you mean {close[0]}?" if close else ""
                self.error(f"there is no option {name}{meant}")


def path_text(text: str) -> str:
    """Return a path unchanged, unless it is special; the parser checks ``Path`` options likewise.

    Reading ``/dev/zero`` never ends and fills the memory, reading a named pipe blocks, and writing
    would replace either, even the system's ``/dev/null``. A shell's pipe, such as ``<(...)``, and
    standard input are as good as a file. An unset shell variable leaves an empty text.

    Raises:
        argparse.ArgumentTypeError: a device, a socket or a named pipe; an empty text.

    Example:
        >>> path_text("my/labels.json")
        'my/labels.json'
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path; got an empty text")
    # Pipes that /dev/fd and /dev/stdin refer to are resolved to a path below /proc.
    special = None if os.path.realpath(text).startswith("/proc/") else special_kind(text)
    if special:
        raise argparse.ArgumentTypeError(f"expected a file or a folder; {text} is {special}")
    return text


def add_commands(parser: CommandParser, commands: Mapping[str, str], package: str) -> None:
    """Add commands as subparsers; a command is imported when it is called.

    Args:
        parser: has no positional arguments of its own.
        commands: purpose by name, which is also the module's, in help order.
        package: of the modules.
    """
    offered = parser.add_subparsers(
        title="commands (each has its own --help)", dest="command", required=True
    )
    script = Path(sys.argv[0]).name
    for name, purpose in commands.items():
        command = offered.add_parser(name, help=purpose, description=purpose)
        command.module = f"{package}.{name}"
        if script == f"{name}.py":
            command.prog = script  # a script calls itself by its own name
