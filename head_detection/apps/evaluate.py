"""``evaluate``: measures weights, or detections from a file, on labelled pictures."""

import argparse
from pathlib import Path
from typing import Final

from head_detection.apps.arguments import (
    add_engine_options,
    add_weights_option,
    check_detector_options,
    not_negative,
    positive,
)
from head_detection.apps.evaluation.comparison import check_comparison, compare_saved
from head_detection.apps.evaluation.metrics_file import write_metrics
from head_detection.apps.evaluation.operating_point import (
    add_operating_point_options,
    check_operating_point,
    store_operating_point,
)
from head_detection.apps.evaluation.predictions import (
    check_detections,
    detect_all,
    read_detections,
)
from head_detection.apps.evaluation.result import (
    EvaluationResult,
    evaluate_predictions,
    short_name,
)
from head_detection.apps.evaluation.table import print_table
from head_detection.apps.evaluation.tracks import (
    TRACK,
    add_track_options,
    check_track_options,
    evaluate_tracks,
    load_labels,
)
from head_detection.apps.evaluation.worst import draw_worst, safe_name
from head_detection.apps.parser import path_text
from head_detection.config import LABEL_FORMATS
from head_detection.errors import EvaluationError
from head_detection.evaluation.evaluator import PROTOCOLS
from head_detection.evaluation.plots import draw_plots

ALL: Final = "all"
PLOTS_FOLDER: Final = "plots"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = "Measure a detector on labelled pictures, or compare two measurements."
    measured = parser.add_mutually_exclusive_group()
    add_weights_option(measured)
    measured.add_argument(
        "--detections", type=Path, metavar="FILE",
        help="measure results instead of weights: what test wrote (json, lines, csv, coco, yolo, "
        "mot), or another program's COCO results, YOLO labels, MOTChallenge text or supervision "
        "sinks",
    )  # fmt: skip
    measured.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A.json", "B.json"),
        help="compare two metrics.json of the same pictures, with 95 %% intervals",
    )  # fmt: skip
    parser.add_argument("--data", type=path_text, metavar="PATH", help="labels: a file or folder")
    parser.add_argument(
        "--format", default="coco", choices=LABEL_FORMATS, help="format of --data (default: coco)"
    )
    parser.add_argument("--split", help="part of the data set, if its format has splits")
    parser.add_argument("--images", metavar="DIR", help="folder that picture names are relative to")
    parser.add_argument(
        "--protocol", default=ALL, choices=[*PROTOCOLS, TRACK, ALL],
        help="what to measure (default: all, which are for single pictures; track is for sequences "
        "whose heads have ids)",
    )  # fmt: skip
    add_operating_point_options(parser)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="results folder (default: runs/evaluate/<name>)"
    )
    parser.add_argument(
        "--num-resamples", type=positive, default=1000, metavar="N",
        help="bootstrap resamples for the 95 %% intervals (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=not_negative, default=0, help="seed of the resamples (default: 0)"
    )
    add_track_options(parser)
    add_engine_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and return the exit code.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    if arguments.compare:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        check_comparison(arguments, parser.parse_args([]))
        first, second = arguments.compare
        return compare_saved(first, second, arguments)
    _check(arguments)
    labelled = load_labels(arguments)
    if not labelled.images:
        raise EvaluationError(f"{arguments.data}: expected labelled pictures; the set has none")
    if arguments.protocol == TRACK:
        return evaluate_tracks(arguments, labelled)
    read = detect_all if arguments.detections is None else read_detections
    protocols = PROTOCOLS if arguments.protocol == ALL else (arguments.protocol,)
    predictions = read(arguments, labelled)
    result = evaluate_predictions(arguments, labelled, predictions, protocols)
    print_table(result, arguments.num_resamples)
    folder = arguments.output or _default_folder(result)
    _write(folder, result, arguments)
    if arguments.choose_threshold:
        print(store_operating_point(arguments.weights, result))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything slow happens."""
    if arguments.data is None:
        raise EvaluationError(
            "expected --data, the labels to measure by (or --compare A.json B.json)"
        )
    check_operating_point(arguments)
    check_track_options(arguments)
    if arguments.detections is None:
        check_detector_options(arguments)
    else:
        check_detections(arguments)


def _default_folder(result: EvaluationResult) -> Path:
    name = f"{safe_name(short_name(result.predictions.path))}-{safe_name(result.split)}"
    return Path("runs", "evaluate", name)


def _write(folder: Path, result: EvaluationResult, arguments: argparse.Namespace) -> None:
    worst = draw_worst(folder, result)
    plots = draw_plots(result.measurement, folder / PLOTS_FOLDER)
    path = write_metrics(folder, result, arguments.num_resamples, arguments.seed)
    print(f"\nwritten to {folder}/:")
    print(f"  {path.name}: all of this and each picture's part, for --compare")
    print(f"  {PLOTS_FOLDER}/: {', '.join(plot.name for plot in plots)}")
    for line in worst:
        print(f"  {line}")
