"""Which detection found which head."""

from dataclasses import dataclass

import numpy as np

from head_detection.evaluation.overlap import IntArray, Overlap, Pairs, pairwise_iou
from head_detection.structures import Detections, FloatArray, GroundTruth

__all__ = [
    "FALSE_POSITIVE",
    "IGNORED",
    "IntArray",
    "Matching",
    "choose_in_turn",
    "match_detections",
    "match_overlap",
    "pairwise_iou",
]
FALSE_POSITIVE = -1
IGNORED = -2
IGNORED_SHARE = 0.5
"""A detection with more of its own area than this inside one ignore region does not count."""


@dataclass(frozen=True)
class Matching:
    """What became of each detection of a picture.

    Attributes:
        found: ``(N,)`` index into ``GroundTruth.head_boxes``, ``FALSE_POSITIVE`` or ``IGNORED``.
        scores: ``(N,)`` falling.
        num_heads: heads that count.
    """

    found: IntArray
    scores: FloatArray
    num_heads: int

    @property
    def num_found(self) -> int:
        """Return the number of heads that a detection found."""
        return int(np.count_nonzero(self.found >= 0))

    @property
    def num_counted(self) -> int:
        """Return the number of detections that count, right or false."""
        return int(np.count_nonzero(self.found != IGNORED))

    def above(self, score_threshold: float) -> "Matching":
        """Return the matching of the detections with ``score >= score_threshold``."""
        keep = self.scores >= score_threshold
        return Matching(self.found[keep], self.scores[keep], self.num_heads)


def match_detections(
    detections: Detections, truth: GroundTruth, iou_threshold: float = 0.5
) -> Matching:
    """Give each detection, best score first, the free head that it overlaps most.

    One head takes one detection. A detection without a head that lies inside an ignore region
    counts neither way; any other is a false positive. As the choice of a detection depends only on
    better ones, the matching at a score threshold is the beginning of this one.

    Args:
        detections: of one picture, falling scores.
        truth: heads and ignore regions of the picture.
        iou_threshold: a pair matches from this IoU on.

    Raises:
        ValueError: the scores rise.

    Source:
        The greedy rule of Shao et al., CrowdHuman, arXiv:1805.00123, with IoU >= instead of >, as
        COCO has it.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], np.float32)
        >>> heads = GroundTruth(boxes[:1], np.array([False]))
        >>> match_detections(Detections.from_arrays(boxes, [0.9, 0.8], (20, 20)), heads).found
        array([ 0, -1])
    """
    return match_overlap(Overlap(detections, truth, iou_threshold), iou_threshold)


def match_overlap(
    overlap: Overlap, iou_threshold: float = 0.5, *, beyond: bool = False
) -> Matching:
    """Return what ``match_detections`` does, from overlaps that are known.

    Args:
        overlap: of the picture; its ``min_iou`` is not above the threshold.
        iou_threshold: a pair matches from this IoU on.
        beyond: only above it instead, as the CrowdHuman toolkit has it.
    """
    pairs = overlap.pairs
    close = pairs.iou > iou_threshold if beyond else pairs.iou >= iou_threshold
    num_heads = len(overlap.truth.head_boxes)
    found = choose_in_turn(pairs.take(close), len(overlap.detections), num_heads)
    found[(overlap.ignored_share > IGNORED_SHARE) & (found == FALSE_POSITIVE)] = IGNORED
    return Matching(found, overlap.detections.scores, num_heads)


def choose_in_turn(pairs: Pairs, num_detections: int, num_heads: int) -> IntArray:
    """Let each detection, in their order, take the first of its pairs whose head is free.

    All propose at once and each head keeps the first detection that came, until nobody is turned
    down: as every head prefers the same order, this ends where taking turns does.

    Args:
        pairs: sorted by detection, then by falling preference.
        num_detections: N.
        num_heads: above every head's index.

    Returns:
        ``(N,)`` the head of each detection, or ``FALSE_POSITIVE``.

    Source:
        Gale and Shapley, College Admissions and the Stability of Marriage, 1962, deferred
        acceptance.

    Example:
        >>> both_want_0 = Pairs(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.9, 0.8, 0.7]))
        >>> choose_in_turn(both_want_0, 3, 2)
        array([ 0,  1, -1])
    """
    detection, head = pairs.detection, pairs.box
    found = np.full(num_detections, FALSE_POSITIVE, np.int64)
    holder = np.full(num_heads, num_detections, np.int64)
    while True:
        is_first = np.append(True, detection[1:] != detection[:-1])[: len(detection)]
        proposing, wanted = detection[is_first], head[is_first]
        # Of several, the last assignment stays: backwards, that is the best detection.
        holder[wanted[::-1]] = proposing[::-1]
        keep = detection <= holder[head]
        if keep.all():
            found[proposing] = wanted
            return found
        detection, head = detection[keep], head[keep]
