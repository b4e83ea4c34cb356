"""Matches detections to heads, by the rules that the measures share."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from head_detection.boxes import clipped, coverage, overlapping_pairs
from head_detection.structures import BoolArray, Detections, FloatArray, GroundTruth

IntArray = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
FALSE_POSITIVE = -1
IGNORED = -2
IGNORED_SHARE = 0.5
"""An unmatched detection with more than this share of its area inside one ignore region does not
count."""
MIN_IOU = 0.2
"""The lowest IoU that any protocol uses (HeadHunter's)."""
TIE_BREAK = 1e-9
"""Added to each weight, so that among sets of equal weight the one with more pairs wins."""


@dataclass(frozen=True)
class Matching:
    """The result of each detection of an image.

    Attributes:
        found: ``(N,)`` index into ``GroundTruth.head_boxes``, ``FALSE_POSITIVE`` or ``IGNORED``.
        scores: ``(N,)`` falling.
        num_heads: number of heads that count.
    """

    found: Annotated[IntArray, "n"]
    scores: Annotated[FloatArray, "n"]
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


@dataclass(frozen=True)
class Pairs:
    """Overlapping detections and boxes, sorted by detection, then by falling IoU, then by box.

    Attributes:
        detection: ``(K,)`` index of the detection.
        box: ``(K,)`` index of the head (or distractor).
        iou: ``(K,)``.
    """

    detection: Annotated[IntArray, "k"]
    box: Annotated[IntArray, "k"]
    iou: Annotated[Float64Array, "k"]

    @classmethod
    def between(cls, boxes: FloatArray, others: FloatArray, min_iou: float) -> "Pairs":
        """Return the pairs with ``IoU >= min_iou``.

        Example:
            >>> heads = np.array([[0, 0, 2, 1.0], [0, 0, 2, 2]])
            >>> Pairs.between(np.array([[0, 0, 2, 2.0]]), heads, 0.2).box  # the closer one first
            array([1, 0])
        """
        pairs = cls(*overlapping_pairs(boxes, others, min_iou))
        return pairs.take(np.lexsort((-pairs.iou, pairs.detection)))

    def take(self, keep: BoolArray | npt.NDArray[np.integer]) -> "Pairs":
        """Return the pairs selected by a mask or by indices."""
        return Pairs(self.detection[keep], self.box[keep], self.iou[keep])


@dataclass(frozen=True)
class Overlap:
    """The overlaps in one image, which several protocols share; each is computed on first use.

    Attributes:
        detections: detections with falling scores.
        truth: heads, ignore regions and distractors of the same image.
        min_iou: pairs with a lower IoU are left out.

    Raises:
        ValueError: scores are not in falling order, which every protocol relies on.
    """

    detections: Detections
    truth: GroundTruth
    min_iou: float = MIN_IOU

    def __post_init__(self) -> None:
        scores = self.detections.scores
        if (scores[1:] > scores[:-1]).any():
            raise ValueError("detections: expected falling scores (Detections.from_arrays sorts)")

    @cached_property
    def pairs(self) -> Pairs:
        """Return the pairs of detections and heads."""
        return Pairs.between(self.detections.boxes, self.truth.head_boxes, self.min_iou)

    @cached_property
    def ignored_share(self) -> Float64Array:
        """Return ``(N,)``: the largest share of each detection that one ignore region covers."""
        return coverage(self.detections.boxes, self.truth.ignore_boxes)

    @cached_property
    def region_share(self) -> Float64Array:
        """Return ``(N,)``: the same for the ignore regions that are not distractors."""
        if not self.truth.distractor.any():
            return self.ignored_share
        regions = self.truth.boxes[self.truth.ignore & ~self.truth.distractor]
        return coverage(self.detections.boxes, regions)

    @cached_property
    def head_ignored_share(self) -> Float64Array:
        """Return ``(M,)``: the largest share of each head that one ignore region covers."""
        return coverage(self.truth.head_boxes, self.truth.ignore_boxes)

    @cached_property
    def clipped(self) -> "Overlap":
        """Return the same with detections and truth clipped to the image.

        Nothing is clipped if the size of the image is unknown, ``(0, 0)``.
        """
        size = self.detections.image_size
        if not all(size):
            return self
        found, truth = clipped(self.detections.boxes, size), clipped(self.truth.boxes, size)
        if (found == self.detections.boxes).all() and (truth == self.truth.boxes).all():
            return self
        return Overlap(
            Detections(found, self.detections.scores, size),
            GroundTruth(truth, self.truth.ignore, self.truth.distractor),
            self.min_iou,
        )


def match_detections(
    detections: Detections, truth: GroundTruth, iou_threshold: float = 0.5
) -> Matching:
    """Match each detection, best score first, to the free head that it overlaps most.

    Each head matches one detection. An unmatched detection inside an ignore region does not count;
    any other is a false positive. Since a match depends only on detections with better scores, the
    matching above a score threshold is a prefix of this one.

    Args:
        detections: detections of one image, with falling scores.
        truth: heads and ignore regions of the image.
        iou_threshold: a pair matches from this IoU on.

    Raises:
        ValueError: the scores are not in falling order.

    Source:
        The greedy rule of Shao et al., CrowdHuman, arXiv:1805.00123, with IoU >= instead of >, as
        in COCO.

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
    """Do the same as ``match_detections`` with overlaps that are already computed.

    Args:
        overlap: overlaps of the image; its ``min_iou`` is not above the threshold.
        iou_threshold: a pair matches from this IoU on.
        beyond: a pair matches only above it instead, as in the CrowdHuman toolkit.
    """
    pairs = overlap.pairs
    close = pairs.iou > iou_threshold if beyond else pairs.iou >= iou_threshold
    num_heads = len(overlap.truth.head_boxes)
    found = choose_in_turn(pairs.take(close), len(overlap.detections), num_heads)
    found[(overlap.ignored_share > IGNORED_SHARE) & (found == FALSE_POSITIVE)] = IGNORED
    return Matching(found, overlap.detections.scores, num_heads)


def choose_in_turn(pairs: Pairs, num_detections: int, num_heads: int) -> Annotated[IntArray, "n"]:
    """Let each detection in order take the first of its pairs whose head is free.

    All detections propose at once and each head keeps the first of them, until no proposal is
    rejected. Since all heads prefer the same order, the result is that of taking turns.

    Args:
        pairs: sorted by detection, then by falling preference.
        num_detections: N.
        num_heads: larger than every head's index.

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
        # The last assignment wins, so in reverse order each head gets its best detection.
        holder[wanted[::-1]] = proposing[::-1]
        keep = detection <= holder[head]
        if keep.all():
            found[proposing] = wanted
            return found
        detection, head = detection[keep], head[keep]


def heaviest_pairs(pairs: Pairs) -> Annotated[BoolArray, "k"]:
    """Choose the pairs with the largest sum of IoU; detections and boxes may stay unmatched.

    Args:
        pairs: the candidates; no detection and no box is chosen twice.

    Returns:
        ``(K,)`` chosen or not.

    Example:
        >>> pairs = Pairs(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.8, 0.7]))
        >>> heaviest_pairs(pairs)  # .8 + .7 instead of .9
        array([False,  True,  True])
    """
    return _assign(pairs, TIE_BREAK)


def most_pairs(pairs: Pairs) -> Annotated[BoolArray, "k"]:
    """Choose as many pairs as possible, and among such sets the one with the largest sum of IoU.

    This is the Hungarian method on 1 - IoU with all other pairs forbidden.

    Args:
        pairs: the candidates; no detection and no box is chosen twice.

    Returns:
        ``(K,)`` chosen or not.

    Example:
        >>> middle = Pairs(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.5, 1.0, 0.5]))
        >>> most_pairs(middle)
        array([ True, False,  True])
    """
    return _assign(pairs, 1.0 + len(pairs.iou))


def _assign(pairs: Pairs, bonus: float) -> BoolArray:
    num_of_detection, num_of_box = np.bincount(pairs.detection), np.bincount(pairs.box)
    # Most detections and boxes have only each other, which needs no choice.
    chosen: BoolArray = (num_of_detection[pairs.detection] == 1) & (num_of_box[pairs.box] == 1)
    open_pairs = np.flatnonzero(~chosen)
    if len(open_pairs):
        rows, row = np.unique(pairs.detection[open_pairs], return_inverse=True)
        columns, column = np.unique(pairs.box[open_pairs], return_inverse=True)
        weights = np.zeros((len(rows), len(columns)))
        weights[row, column] = pairs.iou[open_pairs] + bonus
        numbers = np.full(weights.shape, -1)
        numbers[row, column] = open_pairs
        taken = numbers[linear_sum_assignment(weights, maximize=True)]
        chosen[taken[taken >= 0]] = True
    return chosen
