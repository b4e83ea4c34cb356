"""``convert``: one form into another."""

import argparse
from collections.abc import Sequence

from head_detection.apps.conversions import (
    anchors,
    annotations,
    average,
    check,
    relabel,
    release,
    split,
    weights,
)

KINDS = {
    "annotations": annotations,
    "check": check,
    "split": split,
    "relabel": relabel,
    "anchors": anchors,
    "weights": weights,
    "average": average,
    "release": release,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the kinds of conversion, each with its own options."""
    kinds = parser.add_subparsers(dest="what", required=True)
    for name, kind in KINDS.items():
        kind.add_arguments(kinds.add_parser(name, help=kind.PURPOSE, description=kind.PURPOSE))


def run(arguments: argparse.Namespace) -> int:
    """Convert, and return the exit code.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    exit_code: int = KINDS[arguments.what].run(arguments)
    return exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments and ``run``."""
    return run(_create_parser().parse_args(argv))


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Convert one form into another.")
    add_arguments(parser)
    return parser
