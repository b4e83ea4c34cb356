"""Greedy non-maximum suppression for whole batches."""

from collections.abc import Iterator
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import nms

EMPTY: Final = -1.0
"""The score of an empty slot; scores of boxes are 0 to 1."""
ROUNDS: Final = 12
"""Chains of up to this many boxes that suppress each other are settled without synchronising. The
longest chains among 600 proposals of a classroom have 6 to 8 boxes."""
MATRIX_PAIRS: Final = 2**24
"""Pairs of boxes whose overlap is computed at once: 64 MB in float32."""
MOST_PAIRS: Final = 2**29
"""Most pairs of boxes in one table, 1 GB on a GPU; for more, it synchronises instead."""
ONE_CALL: Final = 1024
"""Boxes of several groups per call of torchvision's operator, whose time is quadratic."""
MANY: Final = 4096
"""Number of boxes from which listing the pairs of nearby boxes first is faster: 10 ms."""

MOST_NEAR: Final = 6 * 10**6
"""Most pairs of boxes to compare, which takes half a second."""
NEAR_AT_ONCE: Final = 2**20
"""Pairs to compare at once: 100 MB."""

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def greedy_nms(
    boxes: Annotated[Tensor, "g k 4"],
    scores: Annotated[Tensor, "g k"],
    iou_threshold: float,
    *,
    waits: bool,
) -> tuple[Annotated[Tensor, "g k"], Annotated[Tensor, ""] | None]:
    """Tell which boxes are kept, separately for each group.

    Args:
        boxes: ``(G, K, 4)`` xyxy float32.
        scores: ``(G, K)``, descending in each group; ``EMPTY`` in empty slots.
        iou_threshold: a box is dropped if a kept box with a higher score overlaps it by more.
        waits: whether boxes may be copied to the CPU, which synchronises with a GPU.

    Returns:
        ``(G, K)`` bool, and a bool scalar: whether it equals sequential suppression; None if that
        is certain.
    """
    if waits or scores.numel() * scores.shape[1] > MOST_PAIRS:
        kept = _keep_one_by_one(boxes, scores, iou_threshold)
        return torch.from_numpy(kept).to(boxes.device), None
    return _keep_in_rounds(boxes, scores, iou_threshold)


def _keep_in_rounds(
    boxes: Tensor, scores: Tensor, iou_threshold: float
) -> tuple[Tensor, Tensor | None]:
    """Suppress all boxes by all remaining better ones, in several rounds, without synchronising.

    The best box is final after the first round, the boxes that it suppresses after the second, and
    so on. Once a round changes nothing, the result equals sequential suppression.

    Source:
        Zheng et al., Enhancing Geometric Factors in Model Learning and Inference for Object
        Detection and Instance Segmentation, IEEE Transactions on Cybernetics 2022, Cluster-NMS.
    """
    groups, count = scores.shape
    # float16 is fast on a GPU, and exact enough because only zero or not matters.
    dtype = torch.float16 if boxes.device.type == "cuda" else torch.float32
    suppresses = torch.empty((groups, count, count), dtype=dtype, device=boxes.device)
    for rows in row_parts(groups, count, count):
        suppresses[:, rows] = (iou_matrix(boxes[:, rows], boxes) > iou_threshold).to(dtype)
    suppresses = suppresses.triu_(1)
    exists = (scores > EMPTY).to(dtype)[:, None]
    kept = exists
    # Training runs under autocast, which would copy the whole table to bfloat16 in each round.
    with torch.autocast(boxes.device.type, enabled=False):
        for _ in range(ROUNDS):
            before = kept
            kept = exists * (torch.bmm(before, suppresses) == 0)
    return kept[:, 0] > 0, (kept == before).all()


def iou_matrix(
    first: Annotated[Tensor, "g k 4"], second: Annotated[Tensor, "g n 4"]
) -> Annotated[Tensor, "g k n"]:
    """Return ``(G, K, N)``: ``torchvision.ops.box_iou`` for each of G groups.

    Args:
        first: ``(G, K, 4)`` xyxy.
        second: ``(G, N, 4)`` xyxy in the same pixels.
    """
    left, top, right, bottom = first[:, :, None].unbind(3)
    others = second[:, None].unbind(3)
    width = torch.minimum(right, others[2]).sub_(torch.maximum(left, others[0])).clamp_(min=0)
    height = torch.minimum(bottom, others[3]).sub_(torch.maximum(top, others[1])).clamp_(min=0)
    shared = width.mul_(height)
    areas = (right - left) * (bottom - top)
    other_areas = (others[2] - others[0]) * (others[3] - others[1])
    return shared.div_((areas + other_areas).sub_(shared))


def row_parts(groups: int, rows: int, columns: int) -> Iterator[slice]:
    """Yield rows of a ``(groups, rows, columns)`` table in parts of at most ``MATRIX_PAIRS``."""
    step = max(1, MATRIX_PAIRS // max(1, groups * columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _keep_one_by_one(boxes: Tensor, scores: Tensor, iou_threshold: float) -> npt.NDArray[np.bool_]:
    """Run torchvision's operator on as many whole groups per call as is efficient."""
    groups, count = scores.shape
    own_scores = scores.detach().cpu().numpy().reshape(-1)
    filled = np.flatnonzero(own_scores > EMPTY)
    own_boxes = boxes.detach().cpu().numpy().reshape(-1, 4)[filled].astype(np.float64)
    own_scores = own_scores[filled].astype(np.float64)
    kept = np.zeros(groups * count, np.bool_)
    group_of = filled // max(count, 1)
    sizes = np.bincount(group_of, minlength=groups)
    for part in _whole_groups(sizes):
        chosen = keep_groups(own_boxes[part], own_scores[part], group_of[part], iou_threshold)
        kept[filled[part][chosen]] = True
    return kept.reshape(groups, count)


def _whole_groups(sizes: Indices) -> Iterator[slice]:
    """Yield slices of whole groups: one group, or several with at most ``ONE_CALL`` boxes."""
    ends = np.cumsum(sizes)
    start, first = 0, 0
    for index, end in enumerate(ends):
        is_last = index + 1 == len(ends)
        if is_last or ends[index + 1] - first > ONE_CALL:
            if end > start:
                yield slice(start, int(end))
            start = first = int(end)


def keep_groups(
    boxes: Annotated[Array, "n 4"],
    scores: Annotated[Array, "n"],
    group_of: Annotated[Indices, "n"],
    iou_threshold: float,
) -> Annotated[Indices, "k"]:
    """Return the indices of the kept boxes, by descending score.

    Args:
        boxes: ``(N, 4)`` xyxy, finite. Groups are shifted apart; float64 keeps the precision that
            float32 would lose by that.
        scores: ``(N,)``.
        group_of: ``(N,)`` group numbers; only boxes of the same group suppress each other.
        iou_threshold: as ``greedy_nms``.

    Example:
        >>> boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 10]])
        >>> keep_groups(boxes, np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), 0.5).tolist()
        [0, 2]
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    extent = boxes.max() - boxes.min() + 1
    moved = boxes + ((group_of - group_of[0]) * extent)[:, None]
    if len(boxes) > MANY:
        return _keep_many(moved, scores, iou_threshold)
    return _one_call(moved, scores, iou_threshold)


def _one_call(boxes: Array, scores: Array, iou_threshold: float) -> Indices:
    kept: Tensor = nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou_threshold)
    indices: Indices = kept.numpy()
    return indices


def _keep_many(boxes: Array, scores: Array, iou_threshold: float) -> Indices:
    """Suppress in rounds, as ``_keep_in_rounds`` does, with a list of overlapping pairs."""
    order = np.argsort(-scores, kind="stable")
    pairs = _near_pairs(boxes[order])
    if pairs is None:  # so dense that few boxes are kept, for which the operator is fast
        return _one_call(boxes, scores, iou_threshold)
    overlapping = [_overlapping(boxes[order], *part, iou_threshold) for part in pairs]
    better, worse = (np.concatenate(side) for side in zip(*overlapping, strict=True))
    kept = np.ones(len(boxes), np.bool_)
    while True:
        after = np.ones(len(boxes), np.bool_)
        after[worse[kept[better]]] = False
        if np.array_equal(after, kept):
            indices: Indices = order[kept]
            return indices
        kept = after


def _near_pairs(boxes: Array) -> Iterator[tuple[Indices, Indices]] | None:
    """Yield nearby pairs of boxes, once each, including all that overlap; None if too many.

    Each box is assigned to every horizontal band that it touches. Sorted by left edge within a
    band, the boxes that start within the columns of a box directly follow it.
    """
    left, top, right, bottom = boxes.T
    band = 2 * max(float(np.median(bottom - top)), 1.0)
    first, last = (np.floor(lines / band).astype(np.int64) for lines in (top, bottom))
    counts = last - first + 1
    box_of = np.repeat(np.arange(len(boxes)), counts)
    band_of = np.repeat(first, counts) + _count_up(counts)
    far = right.max() - left.min() + 1
    begins = band_of * far + left[box_of]
    order = np.argsort(begins, kind="stable")
    ends = (band_of * far + right[box_of])[order]
    followers = np.searchsorted(begins[order], ends) - np.arange(len(order)) - 1
    followers = followers.clip(min=0)  # a box without width has no followers
    if followers.sum() > MOST_NEAR:
        return None
    return _followed(box_of[order], followers, band_of[order], first)


def _followed(
    box_of: Indices, followers: Indices, band_of: Indices, first_band: Indices
) -> Iterator[tuple[Indices, Indices]]:
    """Yield pairs of each entry's box with the boxes of its followers, in parts."""
    cuts = np.searchsorted(
        followers.cumsum(), np.arange(NEAR_AT_ONCE, followers.sum(), NEAR_AT_ONCE)
    )
    for own in np.split(np.arange(len(box_of)), cuts):
        entry = np.repeat(own, followers[own])
        other = entry + 1 + _count_up(followers[own])
        one, two = box_of[entry], box_of[other]
        # Two boxes are paired in every band that both touch; keep only the first of these.
        is_first = band_of[entry] == np.maximum(first_band[one], first_band[two])
        yield np.minimum(one, two)[is_first], np.maximum(one, two)[is_first]


def _count_up(counts: Indices) -> Indices:
    """Return 0, 1, ... for each count.

    Example:
        >>> _count_up(np.array([2, 0, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    starts: Indices = np.repeat(counts.cumsum() - counts, counts)
    return np.arange(len(starts)) - starts


def _overlapping(
    boxes: Array, first: Indices, second: Indices, iou_threshold: float
) -> tuple[Indices, Indices]:
    """Return the pairs whose IoU is above the threshold."""
    one, two = boxes[first], boxes[second]
    sides = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    areas = (one[:, 2:] - one[:, :2]).prod(axis=1) + (two[:, 2:] - two[:, :2]).prod(axis=1)
    is_over = shared > iou_threshold * (areas - shared)
    return first[is_over], second[is_over]
