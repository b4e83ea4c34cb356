"""The operating point, the score from which detections count: given, or chosen and stored."""

import argparse
from pathlib import Path

from head_detection.apps.arguments import probability
from head_detection.apps.evaluation.result import EvaluationResult, without_nan
from head_detection.errors import EvaluationError
from head_detection.inference.weights_files import EXPORTED


def add_operating_point_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument(
        "--score-threshold", type=probability, metavar="X",
        help="operating point: heads count from this score on, 0 to 1 (default: the weights' own)",
    )  # fmt: skip
    threshold.add_argument(
        "--choose-threshold", action="store_true",
        help="choose the threshold with the best F1 on this data, and store it in the weights; "
        "use validation data, never the test set",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", action="store_true",
        help="with --choose-threshold: also fit how scores depend on head size, so that one "
        "threshold suits all sizes, and store that; needs at least a few hundred heads",
    )  # fmt: skip


def check_operating_point(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        EvaluationError: in one line.
    """
    if arguments.calibrate and not arguments.choose_threshold:
        raise EvaluationError(
            "--calibrate: expected --choose-threshold too, because calibration changes the scores"
        )
    if arguments.choose_threshold and arguments.weights is None:
        raise EvaluationError(
            "--choose-threshold: expected --weights, the file to store the threshold in; "
            "the included weights are only changed if they are named"
        )
    if arguments.choose_threshold and arguments.weights.suffix.lower() in EXPORTED:
        raise EvaluationError(
            f"--choose-threshold: expected a .safetensors file to store in; got {arguments.weights}"
            ": choose there, then export again"
        )


def store_operating_point(weights: Path, result: EvaluationResult) -> str:
    """Store the threshold of best F1, its metrics and its calibration in the weights file.

    Only the file's description changes, not its tensors.

    Args:
        weights: the file that was measured.
        result: its measurement, with an operating point chosen on these pictures.

    Returns:
        A message for the user.

    Raises:
        EvaluationError: no threshold finds any head, so none is the best.
    """
    from head_detection.models import weights as files

    measurement = result.measurement
    if not any(outcome.matching.num_found for outcome in measurement.images):
        raise EvaluationError(
            f"{weights}: expected a threshold to choose; none finds a single head of "
            f"{result.labelled.name}: nothing is stored"
        )
    description = files.read_description(weights)
    metrics = {
        "data": result.labelled.name,
        "split": result.split,
        "num_images": len(result.labelled),
        "num_heads": result.labelled.num_heads,
        "precision": result.predictions.model.get("precision"),
        "score_threshold": measurement.score_threshold,
        **without_nan(measurement.metrics),
    }
    calibration = result.predictions.calibration
    files.store_operating_point(
        weights, measurement.score_threshold, {"validation": metrics}, calibration
    )
    fitted = "" if calibration is None else "the calibration, "
    return (
        f"stored in {weights}: {fitted}score threshold {measurement.score_threshold:.4f} "
        f"(before: {description.inference.score_threshold:.4f}), and these metrics as validation"
    )
