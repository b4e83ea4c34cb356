"""CrowdHuman's own measures: miss rate over false positives per image, MR^-2, AP, Jaccard index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from head_detection.evaluation.matching import (
    IGNORED_SHARE,
    Float64Array,
    IntArray,
    Matching,
    Overlap,
    Pairs,
    heaviest_pairs,
    match_overlap,
)
from head_detection.evaluation.ranking import rank

IOU_THRESHOLD = 0.5
"""A pair matches if its IoU is above this, not equal to it."""
REFERENCE_FPPI = (0.0100, 0.0178, 0.0316, 0.0562, 0.1000, 0.1778, 0.3162, 0.5623, 1.0000)
"""As in the toolkit: nine points, evenly spaced on a log axis."""
LOWEST_MISS_RATE = 1e-10
"""Replaces zero, which has no logarithm."""
JACCARD_THRESHOLDS = tuple(number / 10 for number in range(10))
"""Score thresholds; a detection counts if its score is above one, not equal to it."""


@dataclass(frozen=True)
class MissRateCurve:
    """The measures of all images after each detection, best score first.

    Attributes:
        fppi: ``(N,)`` rising, false positives per image, including images without heads.
        recall: ``(N,)`` rising.
        precision: ``(N,)``.
    """

    fppi: Annotated[Float64Array, "n"]
    recall: Annotated[Float64Array, "n"]
    precision: Annotated[Float64Array, "n"]

    @property
    def miss_rate(self) -> Float64Array:
        """Return ``(N,)``: the share of heads that were missed."""
        return np.asarray(1.0 - self.recall)


def match_as_crowdhuman(overlap: Overlap) -> Matching:
    """Match one image by the toolkit's rule.

    Detections and heads are clipped to the image. A detection takes the free head with the largest
    IoU above 0.5; if there is none, and it lies more than half inside an ignore region, it is
    discarded.
    """
    return match_overlap(overlap.clipped, IOU_THRESHOLD, beyond=True)


def miss_rate_curve(matchings: Sequence[Matching]) -> MissRateCurve | None:
    """Return the curve of all matched images together; None without any head."""
    ranking = rank(matchings)
    num_heads = int(ranking.num_heads.sum())
    if not num_heads:
        return None
    found, false = ranking.true_positives, ranking.false_positives
    return MissRateCurve(
        fppi=false / len(matchings), recall=found / num_heads, precision=found / (found + false)
    )


def reference_miss_rates(curve: MissRateCurve) -> Annotated[Float64Array, "9"]:
    """Return ``(9,)``: the miss rate at the first point that reaches each reference FPPI.

    A curve that ends earlier is read at its end. Without detections, every head is missed. (Other
    toolkits read the last point not above the reference, which gives other values.)
    """
    if not len(curve.fppi):
        return np.ones(len(REFERENCE_FPPI))
    first = np.searchsorted(curve.fppi, REFERENCE_FPPI, side="left")
    return np.asarray(curve.miss_rate[np.minimum(first, len(curve.fppi) - 1)])


def log_average_miss_rate(curve: MissRateCurve | None) -> float:
    """Return MR^-2: the geometric mean of the miss rates at nine reference FPPI, lower is better.

    Args:
        curve: curve of all images; None without any head.

    Returns:
        From 1e-10, which replaces 0, to 1; NaN without any head.

    Source:
        Shao et al., CrowdHuman, arXiv:1805.00123, section 4, as its toolkit computes it; after
        Dollar et al., Pedestrian Detection: An Evaluation of the State of the Art, PAMI 2012.

    Example:
        >>> half = Matching(np.array([0, -1]), np.array([0.9, 0.8]), 4)
        >>> log_average_miss_rate(miss_rate_curve([half]))  # ends at 1 FPPI, 3 of 4 missed
        0.75
    """
    if curve is None:
        return float("nan")
    miss_rates = np.maximum(reference_miss_rates(curve), LOWEST_MISS_RATE)
    return float(np.exp(np.log(miss_rates).mean()))


def trapezoid_average_precision(curve: MissRateCurve | None) -> float:
    """Return the toolkit's AP: the trapezoidal area under the raw precision-recall curve.

    As in the toolkit, the curve begins at the first detection and the area to its left is not
    counted, so ``n`` heads found without a mistake give 1 - 1/n.

    Args:
        curve: curve of all images; None without any head.

    Returns:
        AP in [0, 1); NaN without any head.

    Example:
        >>> found = Matching(np.array([0, 1, -1, 2]), np.array([0.9, 0.8, 0.7, 0.6]), 4)
        >>> area = (1 + 1) / 2 / 4 + (2 / 3 + 3 / 4) / 2 / 4
        >>> bool(np.isclose(trapezoid_average_precision(miss_rate_curve([found])), area))
        True
    """
    if curve is None:
        return float("nan")
    return float(np.trapezoid(curve.precision, curve.recall))


def jaccard_counts(overlap: Overlap) -> Annotated[IntArray, "10 3"]:
    """Count one image at each of the ten score thresholds.

    Pairs with an IoU above 0.5 are matched for the largest sum of IoU. Unmatched detections and
    heads that lie more than half inside an ignore region do not count. Both are clipped to the
    image.

    Returns:
        ``(10, 3)``: matched pairs, detections that count, heads that count.
    """
    clipped = overlap.clipped
    pairs = clipped.pairs.take(clipped.pairs.iou > IOU_THRESHOLD)
    scores = clipped.detections.scores
    counts = np.zeros((len(JACCARD_THRESHOLDS), 3), np.int64)
    lengths = [int((scores > threshold).sum()) for threshold in JACCARD_THRESHOLDS]
    for row, length in enumerate(lengths):
        # Adjacent thresholds often keep the same detections.
        same = row > 0 and length == lengths[row - 1]
        counts[row] = counts[row - 1] if same else _jaccard_count(clipped, pairs, length)
    return counts


def _jaccard_count(overlap: Overlap, pairs: Pairs, num_detections: int) -> tuple[int, int, int]:
    pairs = pairs.take(pairs.detection < num_detections)
    pairs = pairs.take(heaviest_pairs(pairs))
    left_out = overlap.ignored_share[:num_detections] > IGNORED_SHARE
    left_out[pairs.detection] = False
    heads_left_out = overlap.head_ignored_share > IGNORED_SHARE
    heads_left_out[pairs.box] = False
    return len(pairs.iou), int((~left_out).sum()), int((~heads_left_out).sum())


def jaccard_index(counts: Sequence[IntArray]) -> tuple[float, float]:
    """Return the best mean Jaccard index over the thresholds, and the lowest threshold that has it.

    Args:
        counts: result of ``jaccard_counts`` for each image. An image without heads and detections
            that count has no index and is left out of the mean, as in the toolkit.

    Returns:
        JI in [0, 1] and its score threshold; NaN if no image has a head that counts.

    Source:
        Chu et al., Detection in Crowded Scenes, arXiv:2003.09163, section 5.1 and its toolkit,
        whose guard against division by zero (1e-6) is left out.

    Example:
        >>> one = np.tile([2, 3, 4], (10, 1))  # 2 of 3 detections match 2 of 4 heads
        >>> jaccard_index([one, np.zeros((10, 3), np.int64)])
        (0.4, 0.0)
    """
    table = np.array(list(counts), np.int64).reshape(-1, len(JACCARD_THRESHOLDS), 3)
    if not table[..., 2].any():
        return float("nan"), float("nan")
    num_matched, num_counted, num_heads = np.moveaxis(table, -1, 0)
    union = num_counted + num_heads - num_matched
    indices = (num_matched / np.maximum(union, 1)).sum(axis=0)
    num_images = (union > 0).sum(axis=0)
    means = indices / np.maximum(num_images, 1)
    # Rounded, because the last digits of equal means depend on the order of images.
    best = int(means.round(12).argmax())
    return float(means[best]), JACCARD_THRESHOLDS[best]
