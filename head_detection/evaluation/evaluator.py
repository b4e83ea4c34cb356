"""The figures that training watches."""

from collections.abc import Sequence

from head_detection.evaluation.average_precision import average_precision
from head_detection.evaluation.counting import counting_error, head_counts
from head_detection.evaluation.detection_accuracy import accuracy, accuracy_curve, best_f1
from head_detection.evaluation.matching import match_detections
from head_detection.evaluation.recall_by_size import SIZE_LIMITS, SIZE_NAMES, recall_by_size
from head_detection.structures import Detections, GroundTruth

__all__ = ["SIZE_LIMITS", "SIZE_NAMES", "evaluate"]


def evaluate(detections: Sequence[Detections], truths: Sequence[GroundTruth]) -> dict[str, float]:
    """Measure detections against truth, IoU 0.5 throughout.

    Args:
        detections: one a picture, with low scores too: the curves need them.
        truths: of the same pictures, in the same order; a picture without heads counts like any.

    Returns:
        ``ap50`` (COCO); ``best_f1`` and its ``best_threshold``; at that threshold ``precision``,
        ``recall``, ``recall_under_8`` ... ``recall_from_96`` by head size, and ``count_mae``: the
        mean over pictures of the difference between found and true, detections in ignore regions
        left out. NaN where there is nothing to measure: no picture, or no head of a size.

    Raises:
        ValueError: the two sequences differ in length.
    """
    ap50 = average_precision(detections, truths)
    matchings = [match_detections(d, t) for d, t in zip(detections, truths, strict=True)]
    f1, threshold = best_f1(accuracy_curve(matchings))
    kept = [matching.above(threshold) for matching in matchings]
    at_threshold = accuracy(kept)
    return {
        "ap50": ap50,
        "best_f1": f1,
        "best_threshold": threshold,
        "precision": at_threshold.precision,
        "recall": at_threshold.recall,
        "count_mae": counting_error(head_counts(kept)).mae,
        **recall_by_size(kept, truths),
    }
