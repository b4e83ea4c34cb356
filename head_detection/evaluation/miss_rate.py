"""CrowdHuman's own measures: miss rate over false positives per image, MR^-2 and AP."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from head_detection.evaluation.matching import Matching, match_overlap
from head_detection.evaluation.overlap import FloatSeries, Overlap
from head_detection.evaluation.ranking import rank

IOU_THRESHOLD = 0.5
"""A pair matches above it, not at it."""
REFERENCE_FPPI = (0.0100, 0.0178, 0.0316, 0.0562, 0.1000, 0.1778, 0.3162, 0.5623, 1.0000)
"""As the toolkit writes them: nine points, even on a log axis."""
LOWEST_MISS_RATE = 1e-10
"""Stands for zero, which has no logarithm."""


@dataclass(frozen=True)
class MissRateCurve:
    """How the figures of all pictures change down the list of detections, a point for each.

    Attributes:
        fppi: ``(N,)`` rising, false positives per image, images without heads too.
        recall: ``(N,)`` rising.
        precision: ``(N,)``.
    """

    fppi: FloatSeries
    recall: FloatSeries
    precision: FloatSeries

    @property
    def miss_rate(self) -> FloatSeries:
        """Return ``(N,)``: the share of heads that is not found."""
        return np.asarray(1.0 - self.recall)


def match_as_crowdhuman(overlap: Overlap) -> Matching:
    """Match one picture by the toolkit's rule.

    Both sides are clipped to the picture. A detection takes the free head of largest IoU above
    0.5; without one, and more than half inside an ignore region, it is discarded.
    """
    return match_overlap(overlap.clipped, IOU_THRESHOLD, beyond=True)


def miss_rate_curve(matchings: Sequence[Matching]) -> MissRateCurve | None:
    """Return the curve of matched pictures, all of them together; None without a head to find."""
    ranking = rank(matchings)
    num_heads = int(ranking.num_heads.sum())
    if not num_heads:
        return None
    found, false = ranking.true_positives, ranking.false_positives
    return MissRateCurve(
        fppi=false / len(matchings), recall=found / num_heads, precision=found / (found + false)
    )


def reference_miss_rates(curve: MissRateCurve) -> FloatSeries:
    """Return ``(9,)``: the miss rate at the first point that reaches each reference FPPI.

    A curve that ends before is read at its end. (Other toolkits read the last point that does not
    pass the reference: other figures.) Without detections every head is missed.
    """
    if not len(curve.fppi):
        return np.ones(len(REFERENCE_FPPI))
    first = np.searchsorted(curve.fppi, REFERENCE_FPPI, side="left")
    return np.asarray(curve.miss_rate[np.minimum(first, len(curve.fppi) - 1)])


def log_average_miss_rate(curve: MissRateCurve | None) -> float:
    """Return MR^-2: the geometric mean of the miss rates at nine reference FPPI, lower is better.

    Args:
        curve: of all pictures; None where there is no head.

    Returns:
        From 1e-10, which stands for 0, to 1; NaN without a head to find.

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
    """Return the toolkit's AP: the area by trapezoids under the raw precision-recall curve.

    The curve begins at its first detection, as in the toolkit: what lies left of it is no area, so
    that ``n`` heads found without a mistake have 1 - 1/n.

    Args:
        curve: of all pictures; None where there is no head.

    Returns:
        AP in [0, 1); NaN without a head to find.

    Example:
        >>> found = Matching(np.array([0, 1, -1, 2]), np.array([0.9, 0.8, 0.7, 0.6]), 4)
        >>> area = (1 + 1) / 2 / 4 + (2 / 3 + 3 / 4) / 2 / 4
        >>> bool(np.isclose(trapezoid_average_precision(miss_rate_curve([found])), area))
        True
    """
    if curve is None:
        return float("nan")
    return float(np.trapezoid(curve.precision, curve.recall))
