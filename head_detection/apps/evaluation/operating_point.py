"""The operating threshold, chosen on validation and stored in the weights."""

from pathlib import Path

from head_detection.apps.evaluation.report import Judged, without_nan
from head_detection.errors import EvaluationError
from head_detection.models.weights import read_description, store_operating_point


def store_threshold(weights: Path, judged: Judged) -> str:
    """Store the threshold of best F1, and the figures that it gave, in the weights file.

    Only the file's description changes, its tensors do not.

    Args:
        weights: the file that was judged.
        judged: its measurement, whose operating point was chosen on the judged pictures.

    Returns:
        What to tell the user.

    Raises:
        EvaluationError: no threshold finds a head, so that none is the best.
    """
    measurement = judged.measurement
    if not any(outcome.matching.num_found for outcome in measurement.images):
        raise EvaluationError(
            f"{weights}: expected a threshold to choose; none finds a single head of "
            f"{judged.labelled.name}: nothing is stored"
        )
    description = read_description(weights)
    figures = {
        "data": judged.labelled.name,
        "split": judged.split,
        "num_images": len(judged.labelled),
        "num_heads": judged.labelled.num_heads,
        "precision": judged.subject.model.get("precision"),
        "score_threshold": measurement.score_threshold,
        **without_nan(measurement.figures),
    }
    store_operating_point(weights, measurement.score_threshold, {"validation": figures})
    return (
        f"stored in {weights}: score threshold {measurement.score_threshold:.4f} "
        f"(before: {description.inference.score_threshold:.4f}), and these figures as validation"
    )
