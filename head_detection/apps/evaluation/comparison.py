"""``evaluate --compare``: compares two measurements of the same pictures, with intervals."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from head_detection.apps.evaluation.metrics_file import SavedMetrics, read_metrics
from head_detection.apps.evaluation.worst import safe_name
from head_detection.errors import EvaluationError
from head_detection.evaluation.bootstrap import Difference, compare
from head_detection.evaluation.plots import draw_comparison
from head_detection.files import real_path

PLOT_NAME: Final = "comparison.png"
TITLES: Final = {"ap50": "AP50", "f1": "F1", "mae": "count MAE"}
VERDICTS: Final = {
    "first": "A is better",
    "second": "B is better",
    None: "these pictures cannot tell",
}
HEEDED: Final = ("compare", "output", "num_resamples", "seed")
"""The options that a comparison heeds."""


def check_comparison(arguments: argparse.Namespace, defaults: argparse.Namespace) -> None:
    """Refuse options that only a measurement heeds.

    Raises:
        EvaluationError: in one line.
    """
    for name, default in vars(defaults).items():
        if name not in HEEDED and getattr(arguments, name) != default:
            raise EvaluationError(
                f"--{name.replace('_', '-')}: expected none with --compare, which reads two "
                "measurements and measures nothing"
            )


def compare_saved(first_path: Path, second_path: Path, arguments: argparse.Namespace) -> int:
    """Print and draw how B differs from A, and return the exit code.

    Raises:
        EvaluationError: the measurements are not of the same pictures.
    """
    first, second = read_metrics(first_path), read_metrics(second_path)
    second = _in_order_of(first, second)
    differences = compare(
        first.matchings,
        second.matchings,
        (first.score_threshold, second.score_threshold),
        num_resamples=arguments.num_resamples,
        seed=arguments.seed,
    )
    num_heads = sum(matching.num_heads for matching in first.matchings)
    for letter, saved in (("A", first), ("B", second)):
        print(
            f"{letter}: {saved.path}: {saved.title}, score >= {saved.score_threshold:.4f} "
            f"({saved.threshold_origin})"
        )
    print(f"{len(first.files)} pictures of {first.split}, {num_heads} heads, IoU .50")
    print(f"95 % intervals: {arguments.num_resamples} draws of pictures, the same for A and B\n")
    for line in table_lines(differences):
        print(line)
    folder = arguments.output or Path("runs", "evaluate", _default_name(first_path, second_path))
    path = folder / PLOT_NAME
    draw_comparison(
        path,
        differences,
        (first.matchings, second.matchings),
        (first.score_threshold, second.score_threshold),
        labels=(f"A: {_short_name(first_path)}", f"B: {_short_name(second_path)}"),
    )
    print(f"\nwritten to {path}")
    return 0


def table_lines(differences: Sequence[Difference]) -> list[str]:
    """Return the table: one line per measure, with the verdict of its interval in words."""
    lines = [f"{'measure':10} {'A':>9} {'B':>9} {'B - A':>9}   {'95 % interval':20} "]
    for item in differences:
        interval = f"{item.low:+.4f} to {item.high:+.4f}"
        lines.append(
            f"{TITLES.get(item.name, item.name):10} {item.first:9.4f} {item.second:9.4f} "
            f"{item.difference:+9.4f}   {interval:20} {VERDICTS[item.better]}"
        )
    return lines


def _in_order_of(first: SavedMetrics, second: SavedMetrics) -> SavedMetrics:
    """Return the second with its pictures in the order of the first."""
    index_of = {name: index for index, name in enumerate(second.files)}
    if set(first.files) != set(second.files) or len(first.files) != len(second.files):
        others = sorted(set(first.files) ^ set(second.files))
        example = f", such as {others[0]}" if others else ""
        raise EvaluationError(
            f"--compare: expected the same pictures; {first.path} has {len(first.files)}, "
            f"{second.path} {len(second.files)}, and {len(others)} are in one alone{example}"
        )
    if len(index_of) != len(second.files):
        raise EvaluationError(f"{second.path}: expected each picture once; got one several times")
    matchings = tuple(second.matchings[index_of[name]] for name in first.files)
    for name, one, other in zip(first.files, first.matchings, matchings, strict=True):
        if one.num_heads != other.num_heads:
            raise EvaluationError(
                f"--compare: expected the same labels; {name} has {one.num_heads} heads in "
                f"{first.path} and {other.num_heads} in {second.path}"
            )
    return replace(second, files=first.files, matchings=matchings)


def _short_name(path: Path) -> str:
    return real_path(path).parent.name if path.name == "metrics.json" else path.stem


def _default_name(first: Path, second: Path) -> str:
    return f"{safe_name(_short_name(first))}-against-{safe_name(_short_name(second))}"
