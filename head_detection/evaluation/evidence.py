"""What one pass over the pictures leaves of each, for all protocols together."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from head_detection.evaluation.average_precision import (
    COCO_IOU_THRESHOLDS,
    MAX_DETECTIONS,
    match_as_coco,
)
from head_detection.evaluation.frame_accuracy import Frame
from head_detection.evaluation.jaccard_index import jaccard_counts
from head_detection.evaluation.matching import Matching, match_overlap
from head_detection.evaluation.miss_rate import match_as_crowdhuman
from head_detection.evaluation.overlap import IntArray, Overlap
from head_detection.structures import Detections, GroundTruth

AP50 = 0
"""Where ``COCO_IOU_THRESHOLDS`` has 0.5."""
AP75 = 5


@dataclass(frozen=True)
class Evidence:
    """Matchings of all pictures, one list a rule.

    Attributes:
        greedy: by ``match_detections``: SCUT-HEAD's rule, and the one of counts and outcomes.
        coco: a list for each IoU threshold; without the ``coco`` protocol for 0.5 alone.
        crowdhuman: by the toolkit's rule.
        jaccard: counts for JI; none without the ``crowdhuman`` protocol.
    """

    greedy: list[Matching] = field(default_factory=list)
    coco: list[list[Matching]] = field(default_factory=list)
    crowdhuman: list[Matching] = field(default_factory=list)
    jaccard: list[IntArray] = field(default_factory=list)


def collect(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], protocols: Collection[str]
) -> Evidence:
    """Match every picture by every rule; overlaps of one picture at a time are in memory."""
    iou_thresholds = COCO_IOU_THRESHOLDS if "coco" in protocols else COCO_IOU_THRESHOLDS[:1]
    # What the model's own limit let through is judged, all of it.
    max_detections = max([MAX_DETECTIONS, *map(len, detections)])
    evidence = Evidence(coco=[[] for _ in iou_thresholds])
    for found, truth in zip(detections, truths, strict=True):
        overlap = Overlap(found, truth)
        evidence.greedy.append(match_overlap(overlap))
        matched = match_as_coco(overlap, iou_thresholds, max_detections)
        for column, matching in zip(evidence.coco, matched, strict=True):
            column.append(matching)
        evidence.crowdhuman.append(match_as_crowdhuman(overlap))
        if "crowdhuman" in protocols:
            evidence.jaccard.append(jaccard_counts(overlap))
    return evidence


def frames_above(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    score_threshold: float,
    judge: Callable[[Overlap], Frame],
) -> list[Frame]:
    """Judge every picture by its detections at the operating threshold."""
    return [
        judge(Overlap(found.above(score_threshold), truth))
        for found, truth in zip(detections, truths, strict=True)
    ]
