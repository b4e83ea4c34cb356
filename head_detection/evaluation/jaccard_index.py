"""CrowdHuman's Jaccard index: heads and detections that agree, of all there are."""

from collections.abc import Sequence

import numpy as np

from head_detection.evaluation.assignment import heaviest_pairs
from head_detection.evaluation.matching import IGNORED_SHARE
from head_detection.evaluation.overlap import IntArray, Overlap, Pairs

IOU_THRESHOLD = 0.5
SCORE_THRESHOLDS = tuple(number / 10 for number in range(10))
"""A detection counts above a threshold, not at it."""


def jaccard_counts(overlap: Overlap) -> IntArray:
    """Count one picture at each of the ten score thresholds.

    Pairs of IoU above 0.5 are matched for the largest sum of IoU. Detections and heads that are
    left over and lie more than half inside an ignore region leave the count. Both sides are
    clipped to the picture.

    Returns:
        ``(10, 3)``: matched pairs, detections that count, heads that count.
    """
    clipped = overlap.clipped
    pairs = clipped.pairs.take(clipped.pairs.iou > IOU_THRESHOLD)
    scores = clipped.detections.scores
    counts = np.zeros((len(SCORE_THRESHOLDS), 3), np.int64)
    lengths = [int((scores > threshold).sum()) for threshold in SCORE_THRESHOLDS]
    for row, length in enumerate(lengths):
        # Neighbouring thresholds often keep the same detections.
        same = row > 0 and length == lengths[row - 1]
        counts[row] = counts[row - 1] if same else _count(clipped, pairs, length)
    return counts


def _count(overlap: Overlap, pairs: Pairs, num_detections: int) -> tuple[int, int, int]:
    pairs = pairs.take(pairs.detection < num_detections)
    pairs = pairs.take(heaviest_pairs(pairs))
    left_out = overlap.ignored_share[:num_detections] > IGNORED_SHARE
    left_out[pairs.detection] = False
    heads_left_out = overlap.head_ignored_share > IGNORED_SHARE
    heads_left_out[pairs.box] = False
    return len(pairs.iou), int((~left_out).sum()), int((~heads_left_out).sum())


def jaccard_index(counts: Sequence[IntArray]) -> tuple[float, float]:
    """Return the best mean Jaccard index over the thresholds, and its threshold, the lowest.

    Args:
        counts: of each picture, from ``jaccard_counts``. A picture without heads and without
            detections that count has no index and leaves the mean, as in the toolkit.

    Returns:
        JI in [0, 1] and its score threshold; NaN where no picture has a head that counts.

    Source:
        Chu et al., Detection in Crowded Scenes, arXiv:2003.09163, section 5.1 and its toolkit,
        whose guard against division by zero (1e-6) is left out.

    Example:
        >>> one = np.tile([2, 3, 4], (10, 1))  # 2 of 3 detections match 2 of 4 heads
        >>> jaccard_index([one, np.zeros((10, 3), np.int64)])
        (0.4, 0.0)
    """
    table = np.array(list(counts), np.int64).reshape(-1, len(SCORE_THRESHOLDS), 3)
    if not table[..., 2].any():
        return float("nan"), float("nan")
    num_matched, num_counted, num_heads = np.moveaxis(table, -1, 0)
    union = num_counted + num_heads - num_matched
    indices = (num_matched / np.maximum(union, 1)).sum(axis=0)
    num_pictures = (union > 0).sum(axis=0)
    means = indices / np.maximum(num_pictures, 1)
    # Equal means differ in the last digits with the order of pictures.
    best = int(means.round(12).argmax())
    return float(means[best]), SCORE_THRESHOLDS[best]
