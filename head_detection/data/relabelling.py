"""Refines imprecise labels with detections of a network trained on them and on better ones."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from head_detection.boxes import areas, clipped, pairwise_iou
from head_detection.structures import Detections, FloatArray, GroundTruth


@dataclass(frozen=True)
class RelabelRules:
    """The rules by which detections change labels.

    Attributes:
        considered_score: detections with a lower score are not considered.
        close_iou: from this IoU on, a label and a detection are one head, and well placed.
        loose_iou: from this IoU on, they are one head, and both are trusted equally.
        detected_share: weight of the detection's box in the new box of a close pair.
        added_score: from this score on, a detection without a label becomes a label.
        ignored_score: from this score on, it becomes an ignore region.
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
    """Return labels with each head moved towards its detection.

    A head without a detection stays as it is, because training should include what is missed.

    Args:
        truth: labels of one picture.
        found: its detections, in the same pixels.
        rules: when and how labels change.

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
    return _labels(truth, np.concatenate([heads, added]), unsure, found), counts


def _labels(
    truth: GroundTruth, heads: FloatArray, unsure: FloatArray, found: Detections
) -> GroundTruth:
    boxes = clipped(np.concatenate([heads, truth.ignore_boxes, unsure]), found.image_size)
    ignore = np.arange(len(boxes)) >= len(heads)
    distractor = np.zeros(len(boxes), np.bool_)
    distractor[len(heads) : len(boxes) - len(unsure)] = truth.distractor[truth.ignore]
    has_area = areas(boxes) > 0
    return GroundTruth(boxes[has_area], ignore[has_area], distractor[has_area])
