"""Which detection found which head."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from head_detection.structures import Detections, FloatArray, GroundTruth

IntArray = npt.NDArray[np.int64]
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

    Source:
        The greedy rule of Shao et al., CrowdHuman, arXiv:1805.00123, with IoU >= instead of >, as
        COCO has it.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], np.float32)
        >>> heads = GroundTruth(boxes[:1], np.array([False]))
        >>> match_detections(Detections.from_arrays(boxes, [0.9, 0.8], (20, 20)), heads).found
        array([ 0, -1])
    """
    heads = truth.head_boxes
    found = np.full(len(detections), FALSE_POSITIVE, np.int64)
    ious = pairwise_iou(detections.boxes, heads)
    for index in np.flatnonzero((ious >= iou_threshold).any(axis=1)):
        head = int(ious[index].argmax())
        if ious[index, head] >= iou_threshold:
            found[index] = head
            ious[:, head] = -1.0
    shares = _pairwise_own_share(detections.boxes, truth.ignore_boxes)
    inside = (shares > IGNORED_SHARE).any(axis=1)
    found[inside & (found == FALSE_POSITIVE)] = IGNORED
    return Matching(found, detections.scores, len(heads))


def pairwise_iou(boxes: FloatArray, others: FloatArray) -> npt.NDArray[np.float64]:
    """Return intersection over union, ``(N, M)``, of ``(N, 4)`` and ``(M, 4)`` xyxy boxes.

    Example:
        >>> pairwise_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]])).round(3)
        array([[0.333]])
    """
    intersection = _pairwise_intersection(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others)[None] - intersection
    return intersection / np.maximum(union, np.finfo(np.float64).tiny)


def _pairwise_own_share(boxes: FloatArray, regions: FloatArray) -> npt.NDArray[np.float64]:
    areas = np.maximum(_areas(boxes), np.finfo(np.float64).tiny)
    return _pairwise_intersection(boxes, regions) / areas[:, None]


def _pairwise_intersection(boxes: FloatArray, others: FloatArray) -> npt.NDArray[np.float64]:
    first, second = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    top_left = np.maximum(first[..., :2], second[..., :2])
    bottom_right = np.minimum(first[..., 2:], second[..., 2:])
    sides = np.clip(bottom_right - top_left, 0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _areas(boxes: FloatArray) -> npt.NDArray[np.float64]:
    sides = np.clip(boxes.astype(np.float64)[:, 2:] - boxes.astype(np.float64)[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1])
