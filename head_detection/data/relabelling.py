"""Loose labels placed anew by what a detector, trained on them and on better ones, finds."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from head_detection.boxes import areas, clipped, pairwise_iou
from head_detection.structures import Detections, FloatArray, GroundTruth


@dataclass(frozen=True)
class RelabelRules:
    """When a detection changes the labels.

    Attributes:
        considered_score: detections scored lower do not count.
        close_iou: a label and a detection that overlap so much are one head, well placed.
        loose_iou: they are one head, and neither is trusted more than the other.
        detected_share: of the detection's box in the new one of a close pair.
        added_score: a detection scored so high where no label is becomes one.
        ignored_score: one scored so high becomes a region to ignore.
    """

    considered_score: float = 0.1
    close_iou: float = 0.4
    loose_iou: float = 0.2
    detected_share: float = 0.65
    added_score: float = 0.6
    ignored_score: float = 0.4


def relabel(
    truth: GroundTruth, found: Detections, rules: RelabelRules
) -> tuple[GroundTruth, Counter[str]]:
    """Return labels whose heads lie between where they were and where they were found.

    A head that nothing was found of stays as it is: what a detector misses is worth learning.

    Args:
        truth: of one picture.
        found: in the same pixels.
        rules: what changes what.

    Returns:
        The labels, and how many heads were ``placed anew``, ``placed between``, ``kept``,
        ``added`` and ``ignored``.
    """
    found = found.above(rules.considered_score)
    heads = truth.head_boxes.copy()
    overlap = pairwise_iou(heads, found.boxes)
    counts: Counter[str] = Counter()
    for head, detection in zip(*linear_sum_assignment(-overlap), strict=True):
        iou = overlap[head, detection]
        if iou >= rules.loose_iou:
            is_close = iou >= rules.close_iou
            share = rules.detected_share if is_close else 0.5
            heads[head] = share * found.boxes[detection] + (1 - share) * heads[head]
            counts["placed anew" if is_close else "placed between"] += 1
    counts["kept"] = len(heads) - counts.total()
    is_new = overlap.max(axis=0, initial=0) < rules.loose_iou
    is_sure = found.scores >= rules.added_score
    added = found.boxes[is_new & is_sure]
    unsure = found.boxes[is_new & ~is_sure & (found.scores >= rules.ignored_score)]
    counts.update({"added": len(added), "ignored": len(unsure)})
    return _labels(np.concatenate([heads, added]), [truth.ignore_boxes, unsure], found), counts


def _labels(heads: FloatArray, ignored: list[FloatArray], found: Detections) -> GroundTruth:
    boxes = np.concatenate([heads, *ignored])
    boxes = clipped(boxes, found.image_size)
    ignore = np.arange(len(boxes)) >= len(heads)
    has_area = areas(boxes) > 0
    return GroundTruth(boxes[has_area], ignore[has_area])
