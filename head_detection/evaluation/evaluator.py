"""All figures of a set of pictures."""

from collections.abc import Sequence

import numpy as np

from head_detection.evaluation.average_precision import average_precision
from head_detection.evaluation.detection_accuracy import accuracy_curve, best_f1
from head_detection.evaluation.matching import IGNORED, Matching, match_detections
from head_detection.structures import Detections, GroundTruth

SIZE_LIMITS = (8.0, 16.0, 32.0, 96.0)
"""Square roots of area in original pixels, between which recall is given apart."""
SIZE_NAMES = ("under_8", "8_to_16", "16_to_32", "32_to_96", "from_96")


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
    figures = {"ap50": average_precision(detections, truths)}
    matchings = [match_detections(d, t) for d, t in zip(detections, truths, strict=True)]
    f1, threshold = best_f1(accuracy_curve(matchings))
    figures |= {"best_f1": f1, "best_threshold": threshold}
    kept = [_above(matching, threshold) for matching in matchings]
    num_found = sum(int((matching.found >= 0).sum()) for matching in kept)
    figures["precision"] = _ratio(num_found, sum(_count(matching) for matching in kept))
    figures["recall"] = _ratio(num_found, sum(matching.num_heads for matching in kept))
    errors = [abs(_count(matching) - matching.num_heads) for matching in kept]
    figures["count_mae"] = _ratio(sum(errors), len(errors))
    return figures | _recall_by_size(kept, truths)


def _above(matching: Matching, score_threshold: float) -> Matching:
    keep = matching.scores >= score_threshold
    return Matching(matching.found[keep], matching.scores[keep], matching.num_heads)


def _count(matching: Matching) -> int:
    return int((matching.found != IGNORED).sum())


def _recall_by_size(
    matchings: Sequence[Matching], truths: Sequence[GroundTruth]
) -> dict[str, float]:
    num_found, num_heads = np.zeros(len(SIZE_NAMES)), np.zeros(len(SIZE_NAMES))
    for matching, truth in zip(matchings, truths, strict=True):
        sides = np.clip(truth.head_boxes[:, 2:] - truth.head_boxes[:, :2], 0, None)
        sizes = np.searchsorted(SIZE_LIMITS, np.sqrt(sides.prod(axis=1)), side="right")
        np.add.at(num_heads, sizes, 1)
        np.add.at(num_found, sizes[matching.found[matching.found >= 0]], 1)
    return {
        f"recall_{name}": _ratio(found, heads)
        for name, found, heads in zip(SIZE_NAMES, num_found, num_heads, strict=True)
    }


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
