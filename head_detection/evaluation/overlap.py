"""How the detections of a picture lie over its heads and its ignore regions."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from head_detection.structures import BoolArray, Detections, FloatArray, GroundTruth

IntArray = npt.NDArray[np.int64]
FloatSeries = npt.NDArray[np.float64]
MIN_IOU = 0.2
"""The lowest that any protocol asks for (HeadHunter's)."""
MAX_MATRIX = 1 << 21
"""Entries of a dense matrix at once; a crowd beyond it is taken in blocks of rows."""


@dataclass(frozen=True)
class Pairs:
    """Detections and boxes that overlap, sorted by detection, then by falling IoU, then by box.

    Attributes:
        detection: ``(K,)`` index of the detection.
        box: ``(K,)`` index of the head (or distractor).
        iou: ``(K,)``.
    """

    detection: IntArray
    box: IntArray
    iou: FloatSeries

    def take(self, keep: BoolArray | npt.NDArray[np.integer]) -> "Pairs":
        """Return the pairs that a mask or an index names."""
        return Pairs(self.detection[keep], self.box[keep], self.iou[keep])


@dataclass(frozen=True)
class Overlap:
    """One picture; what several protocols need of it is computed once, when first asked for.

    Attributes:
        detections: falling scores.
        truth: heads, ignore regions and distractors of the same picture.
        min_iou: pairs below it are left out.

    Raises:
        ValueError: scores that rise: every protocol goes by rank.
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
        """Return the pairs of a detection and a head."""
        return overlapping_pairs(self.detections.boxes, self.truth.head_boxes, self.min_iou)

    @cached_property
    def ignored_share(self) -> FloatSeries:
        """Return ``(N,)``: the most of each detection's area that one ignore region covers."""
        return largest_share(self.detections.boxes, self.truth.ignore_boxes)

    @cached_property
    def region_share(self) -> FloatSeries:
        """Return ``(N,)``: the same of the ignore regions that are no distractors."""
        if not self.truth.distractor.any():
            return self.ignored_share
        regions = self.truth.boxes[self.truth.ignore & ~self.truth.distractor]
        return largest_share(self.detections.boxes, regions)

    @cached_property
    def head_ignored_share(self) -> FloatSeries:
        """Return ``(M,)``: the most of each head's area that one ignore region covers."""
        return largest_share(self.truth.head_boxes, self.truth.ignore_boxes)

    @cached_property
    def clipped(self) -> "Overlap":
        """Return the same with detections and truth cut at the picture's edges.

        A picture of unknown size, ``(0, 0)``, cuts nothing.
        """
        height, width = self.detections.image_size
        limits = np.array([width, height, width, height], np.float32)
        found, truth = self.detections.boxes, self.truth.boxes
        boxes = np.concatenate([found, truth])
        inside = np.clip(boxes, 0, limits) if limits.all() else boxes
        if (inside == boxes).all():
            return self
        inside_found, inside_truth = inside[: len(found)], inside[len(found) :]
        return Overlap(
            Detections(inside_found, self.detections.scores, self.detections.image_size),
            GroundTruth(inside_truth, self.truth.ignore, self.truth.distractor),
            self.min_iou,
        )


def overlapping_pairs(boxes: FloatArray, others: FloatArray, min_iou: float) -> Pairs:
    """Return the pairs with ``iou >= min_iou`` and some overlap.

    Example:
        >>> pairs = overlapping_pairs(np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 2, 1.0]]), 0.2)
        >>> pairs.detection.item(), pairs.box.item(), pairs.iou.item()
        (0, 0, 0.5)
    """
    rows = max(1, MAX_MATRIX // max(1, len(others)))
    # The empty ones give the type where there is no detection.
    detection, other, iou = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for start in range(0, len(boxes), rows):
        ious = pairwise_iou(boxes[start : start + rows], others)
        row, column = np.nonzero((ious >= min_iou) & (ious > 0))
        detection.append(row + start)
        other.append(column)
        iou.append(ious[row, column])
    pairs = Pairs(np.concatenate(detection), np.concatenate(other), np.concatenate(iou))
    return pairs.take(np.lexsort((-pairs.iou, pairs.detection)))


def pairwise_iou(boxes: FloatArray, others: FloatArray) -> FloatSeries:
    """Return intersection over union, ``(N, M)``, of ``(N, 4)`` and ``(M, 4)`` xyxy boxes.

    Example:
        >>> pairwise_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]])).round(3)
        array([[0.333]])
    """
    intersection = _pairwise_intersection(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others)[None]
    union -= intersection
    np.maximum(union, np.finfo(np.float64).tiny, out=union)
    return np.asarray(np.divide(intersection, union, out=intersection))


def largest_share(boxes: FloatArray, regions: FloatArray) -> FloatSeries:
    """Return ``(N,)``: the most of each box's own area that one region covers, 0 without regions.

    Example:
        >>> largest_share(np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 1, 9], [0, 0, 9, 0.5]]))
        array([0.5])
    """
    shares = np.zeros(len(boxes))
    if not len(regions):
        return shares
    areas = np.maximum(_areas(boxes), np.finfo(np.float64).tiny)
    rows = max(1, MAX_MATRIX // len(regions))
    for start in range(0, len(boxes), rows):
        block = slice(start, start + rows)
        shares[block] = (_pairwise_intersection(boxes[block], regions)).max(axis=1) / areas[block]
    return shares


def _pairwise_intersection(boxes: FloatArray, others: FloatArray) -> FloatSeries:
    first, second = _edges(boxes)[:, :, None], _edges(others)[:, None]
    width = np.minimum(first[2], second[2])
    width -= np.maximum(first[0], second[0])
    np.maximum(width, 0, out=width)
    height = np.minimum(first[3], second[3])
    height -= np.maximum(first[1], second[1])
    np.maximum(height, 0, out=height)
    return np.asarray(np.multiply(width, height, out=width))


def _edges(boxes: FloatArray) -> FloatSeries:
    """Return ``(4, N)``; right and bottom as COCO's code has them, left plus width, to the bit."""
    edges = boxes.astype(np.float64).T.copy()
    edges[2:] = (edges[2:] - edges[:2]) + edges[:2]
    return edges


def _areas(boxes: FloatArray) -> FloatSeries:
    sides = np.clip(boxes.astype(np.float64)[:, 2:] - boxes.astype(np.float64)[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1])
