"""Boxes as NumPy arrays: areas, overlaps, clipping and formats, for the whole project.

``boxes`` are ``(N, 4)`` xyxy: left, top, right, bottom in pixels. Other formats say so in
their names. Overlaps are computed by pycocotools, 2 to 3 times as fast as in NumPy.
"""

from typing import Annotated, TypeVar

import numpy as np
import numpy.typing as npt
from pycocotools import mask

Float = TypeVar("Float", bound=np.floating)
AnyFloatArray = npt.NDArray[np.floating]
MAX_MATRIX = 1 << 21
"""Overlaps held at once (16 MiB of float64); larger matrices are computed in blocks of rows."""


def areas(boxes: Annotated[npt.NDArray[Float], "n 4"]) -> Annotated[npt.NDArray[Float], "n"]:
    """Return areas in square pixels, in the precision of the boxes; 0 if a side is negative.

    Example:
        >>> areas(np.array([[0, 0, 2, 3.0], [5, 5, 5, 9]]))
        array([6., 0.])
    """
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides.prod(axis=1))


def clipped(
    boxes: Annotated[npt.NDArray[Float], "n 4"], image_size: tuple[int, int]
) -> Annotated[npt.NDArray[Float], "n 4"]:
    """Return the boxes cut at the edges of an image of ``(height, width)``.

    A box outside becomes a box without area on the nearest edge.

    Example:
        >>> clipped(np.array([[-5, 0, 9, 30.0]]), (20, 10))
        array([[ 0.,  0.,  9., 20.]])
    """
    height, width = image_size
    return np.asarray(np.clip(boxes, 0, np.array((width, height, width, height), boxes.dtype)))


def to_xywh(boxes: Annotated[npt.NDArray[Float], "n 4"]) -> Annotated[npt.NDArray[Float], "n 4"]:
    """Return left, top, width, height.

    Example:
        >>> to_xywh(np.array([[1, 2, 4, 8.0]]))
        array([[1., 2., 3., 6.]])
    """
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def from_xywh(
    boxes_xywh: Annotated[npt.NDArray[Float], "n 4"],
) -> Annotated[npt.NDArray[Float], "n 4"]:
    """Return xyxy of left, top, width, height.

    Example:
        >>> from_xywh(np.array([[1, 2, 3, 6.0]]))
        array([[1., 2., 4., 8.]])
    """
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)


def pairwise_iou(
    boxes: Annotated[AnyFloatArray, "n 4"], others: Annotated[AnyFloatArray, "m 4"]
) -> Annotated[npt.NDArray[np.float64], "n m"]:
    """Return intersection over union of each box with each other one; 0 for boxes without area.

    All pairs are in memory at once; use ``overlapping_pairs`` for many boxes.

    Source:
        pycocotools' own overlaps, so that they round as in COCO's measures.

    Example:
        >>> pairwise_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]])).round(3)
        array([[0.333]])
    """
    return _overlaps(boxes, others, over_own_area=False)


def overlapping_pairs(
    boxes: Annotated[AnyFloatArray, "n 4"],
    others: Annotated[AnyFloatArray, "m 4"],
    min_iou: float,
) -> tuple[
    Annotated[npt.NDArray[np.int64], "k"],
    Annotated[npt.NDArray[np.int64], "k"],
    Annotated[npt.NDArray[np.float64], "k"],
]:
    """Find the pairs with ``IoU >= min_iou`` and some overlap.

    Returns:
        Index of the box, index of the other, and IoU, ``(K,)`` each; by box, then by other.

    Example:
        >>> box, other, iou = overlapping_pairs(
        ...     np.array([[0, 0, 2, 2.0]]), np.array([[9, 9, 10, 10], [0, 0, 2, 1.0]]), 0.2
        ... )
        >>> box.item(), other.item(), iou.item()
        (0, 1, 0.5)
    """
    # The empty arrays give the type if there are no boxes.
    box, other, iou = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for rows in _row_blocks(len(boxes), len(others)):
        ious = pairwise_iou(boxes[rows], others)
        row, column = np.nonzero((ious >= min_iou) & (ious > 0))
        box.append(row + rows.start)
        other.append(column)
        iou.append(ious[row, column])
    return np.concatenate(box), np.concatenate(other), np.concatenate(iou)


def coverage(
    boxes: Annotated[AnyFloatArray, "n 4"], regions: Annotated[AnyFloatArray, "m 4"]
) -> Annotated[npt.NDArray[np.float64], "n"]:
    """Return the largest share of each box's own area that one region covers; 0 without regions.

    Example:
        >>> coverage(np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 1, 9], [0, 0, 9, 0.5]]))
        array([0.5])
    """
    shares = np.zeros(len(boxes))
    for rows in _row_blocks(len(boxes), len(regions)):
        overlaps = _overlaps(boxes[rows], regions, over_own_area=True)
        shares[rows] = overlaps.max(axis=1, initial=0.0)
    return shares


def _row_blocks(num_rows: int, num_columns: int) -> list[slice]:
    step = max(1, MAX_MATRIX // max(1, num_columns))
    return [slice(start, start + step) for start in range(0, num_rows, step)]


def _overlaps(
    boxes: AnyFloatArray, others: AnyFloatArray, *, over_own_area: bool
) -> npt.NDArray[np.float64]:
    """Return intersection over union, or over the area of each of ``boxes``, ``(N, M)``."""
    if not len(boxes) or not len(others):
        return np.zeros((len(boxes), len(others)))
    # pycocotools needs contiguous rows. For "crowds" it divides by the area of the first box.
    sides = [np.ascontiguousarray(to_xywh(side.astype(np.float64))) for side in (boxes, others)]
    return np.asarray(mask.iou(*sides, np.full(len(others), over_own_area, np.uint8)))
