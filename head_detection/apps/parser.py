"""Commands and their options; one that is misspelt is answered at once, with what was meant.

A command is a module with ``add_arguments(parser)`` and ``run(arguments)``, which returns the exit
code. Only the command that was asked for is imported, and it imports torch in ``run`` alone, so
that a mistake in its options costs no seconds of loading.
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
"""How an option begins; ``-`` and ``-1`` are values."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose mistakes are one line each.

    Attributes:
        module: the command, imported once its arguments are parsed; empty for a parser that has its
            options already.
        other_names: what to type in place of options that others have, by their names.
    """

    module = ""
    other_names: Mapping[str, str] = MappingProxyType({})

    def __init__(self, *args: Any, **options: Any) -> None:
        # A beginning that is an option today may be another's tomorrow.
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as ever, once the command has declared its options."""
        args = sys.argv[1:] if args is None else list(args)
        if self.module:
            command, self.module = import_module(self.module), ""
            self.set_defaults(run=command.run, words=list(args))
            command.add_arguments(self)
        # The words after a command's name are that command's.
        own = args if self._subparsers is None else takewhile(NAME.match, args)
        self._check_names(own)
        parsed, left = super().parse_known_args(args, namespace)
        if left:  # said here, where the parser is the command's own
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return parsed, left

    def error(self, message: str) -> Never:
        """Say the mistake in one line, without the usage, and exit."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Read a value; of a path that leads to no file or folder nothing is read nor written."""
        value = super()._get_value(action, arg_string)
        if isinstance(value, Path):
            try:
                path_text(str(value))
            except argparse.ArgumentTypeError as error:
                raise argparse.ArgumentError(action, str(error)) from error
        return value

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Add which choice was meant."""
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
    """Read a path as it stands; a parser does the same to all options whose type is ``Path``.

    ``/dev/zero`` has no end and takes all memory, a named pipe is waited for, and what is written
    takes the place of either, be it ``/dev/null`` of the whole system. A pipe of the shell, as
    ``<(...)`` is, and standard input are as good as a file.

    Raises:
        argparse.ArgumentTypeError: a device, a socket or a named pipe.

    Example:
        >>> path_text("my/labels.json")
        'my/labels.json'
    """
    # What /dev/fd and /dev/stdin name lies below /proc, if it is a pipe.
    special = None if os.path.realpath(text).startswith("/proc/") else special_kind(text)
    if special:
        raise argparse.ArgumentTypeError(f"expected a file or a folder; {text} is {special}")
    return text


def add_commands(parser: CommandParser, commands: Mapping[str, str], package: str) -> None:
    """Offer commands, each imported when it is called for.

    Args:
        parser: has no positional argument of its own.
        commands: name, which is the module's, and purpose, in reading order.
        package: of the modules.
    """
    offered = parser.add_subparsers(
        title="commands, each with a --help of its own", dest="command", required=True
    )
    script = Path(sys.argv[0]).name
    for name, purpose in commands.items():
        command = offered.add_parser(name, help=purpose, description=purpose)
        command.module = f"{package}.{name}"
        if script == f"{name}.py":
            command.prog = script  # a script calls itself by its own name
