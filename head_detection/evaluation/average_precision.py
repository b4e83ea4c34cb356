"""COCO's average precision, equal to pycocotools' within rounding.

The overlaps are computed by pycocotools. The matching is not: ``COCOeval`` takes 27 times as long
on 300 images of 85 detections and 23 heads, about 130 times on crowds of 1000 detections (a minute
for one image of 5000), and resampling needs the matched detections, not only the curve. Tests check
that both agree to 1e-12.
"""

from collections.abc import Sequence

import numpy as np

from head_detection.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    Float64Array,
    IntArray,
    Matching,
    Overlap,
    Pairs,
    choose_in_turn,
)
from head_detection.evaluation.ranking import interpolated_precision, rank
from head_detection.structures import Detections, GroundTruth

MAX_DETECTIONS = 1000
"""Per image; the 100 of pycocotools would cut off crowds."""
COCO_IOU_THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10))
HIGHEST_THRESHOLD = 1 - 1e-10
"""pycocotools never requires more, so that equal boxes always match."""


def average_precision(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    iou_threshold: float | Sequence[float] = 0.5,
    max_detections: int = MAX_DETECTIONS,
) -> float:
    """Return COCO AP: 101 recall points, greedy by score, the mean over the IoU thresholds.

    Ignore regions are treated as crowd regions: their overlap is intersection over the detection's
    area, and a detection in one is neither right nor wrong.

    Args:
        detections: one per image.
        truths: ground truth of the same images.
        iou_threshold: one or several, 0.5 for AP50, ``COCO_IOU_THRESHOLDS`` for AP.
        max_detections: only this many best detections of an image count.

    Returns:
        AP in [0, 1]; NaN without any head.

    Raises:
        ValueError: the two sequences differ in length, or scores are not in falling order.

    Source:
        Lin et al., Microsoft COCO, arXiv:1405.0312; pycocotools 2.

    Example:
        >>> boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32)
        >>> heads = GroundTruth(boxes, np.zeros(2, bool))
        >>> found = Detections.from_arrays(heads.boxes[:1], [0.9], (50, 50))
        >>> round(average_precision([found], [heads]), 3)  # 51 of 101 points
        0.505
    """
    if len(detections) != len(truths):
        raise ValueError(f"expected as many detections as truths: {len(detections)}, {len(truths)}")
    thresholds = (iou_threshold,) if isinstance(iou_threshold, float) else tuple(iou_threshold)
    matchings = [
        match_as_coco(
            Overlap(found, truth, min(HIGHEST_THRESHOLD, *thresholds)), thresholds, max_detections
        )
        for found, truth in zip(detections, truths, strict=True)
    ]
    columns = [list(column) for column in zip(*matchings, strict=True)] or [[]]
    return float(np.mean([ranked_average_precision(column) for column in columns]))


def match_as_coco(
    overlap: Overlap, iou_thresholds: Sequence[float], max_detections: int = MAX_DETECTIONS
) -> list[Matching]:
    """Match one image at each IoU threshold by COCO's rule.

    It differs from ``match_detections`` in rare cases: among heads with equal overlap it takes the
    last, and an ignore region takes a detection at the IoU threshold instead of one half.

    Args:
        overlap: overlaps of the image; its ``min_iou`` is not above the lowest threshold.
        iou_thresholds: T thresholds.
        max_detections: number of best detections to match; the others are left out.

    Returns:
        T matchings of the best ``max_detections``.
    """
    num_detections = min(len(overlap.detections), max_detections)
    num_heads = len(overlap.truth.head_boxes)
    limits = np.minimum(np.array(iou_thresholds), HIGHEST_THRESHOLD)[:, None]
    found = _choose_at_each(overlap.pairs, limits, num_detections, num_heads)
    ignored = overlap.ignored_share[None, :num_detections] >= limits
    found[ignored & (found == FALSE_POSITIVE)] = IGNORED
    scores = overlap.detections.scores[:num_detections]
    return [Matching(row, scores, num_heads) for row in found]


def _choose_at_each(
    pairs: Pairs, limits: Float64Array, num_detections: int, num_heads: int
) -> IntArray:
    """Return ``(T, N)``: treats the T thresholds as T images, to match them in one pass."""
    pairs = pairs.take(pairs.detection < num_detections)
    pairs = pairs.take(np.lexsort((-pairs.box, -pairs.iou, pairs.detection)))
    threshold, index = np.nonzero(pairs.iou >= limits)
    copies = Pairs(
        pairs.detection[index] + threshold * num_detections,
        pairs.box[index] + threshold * num_heads,
        pairs.iou[index],
    )
    num_copies = len(limits)
    found = choose_in_turn(copies, num_copies * num_detections, num_copies * num_heads)
    found = found.reshape(num_copies, num_detections)
    return np.where(found >= 0, found - np.arange(num_copies)[:, None] * num_heads, found)


def ranked_average_precision(matchings: Sequence[Matching]) -> float:
    """Return the AP of matched images; NaN without any head."""
    ranking = rank(matchings)
    num_heads = int(ranking.num_heads.sum())
    if not num_heads:
        return float("nan")
    positives = np.arange(1, len(ranking.hits) + 1)
    return float(interpolated_precision(ranking.true_positives, positives, num_heads).mean())
