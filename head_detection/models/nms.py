"""Greedy non-maximum suppression for whole batches."""

from collections.abc import Iterator
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import nms

from head_detection.kernels import can_run

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
FEW: Final = 300
"""Up to so many boxes, the operator is faster than listing the pairs of nearby boxes: 0.1 ms."""
NEAR_SHARE: Final = 1 / 128
"""If a larger share of all pairs of boxes is near, few boxes are kept, and the operator, whose time
grows with their number, is faster."""
MOST_NEAR: Final = 6 * 10**6
"""Most pairs of boxes to compare, which takes half a second."""
NEAR_AT_ONCE: Final = 2**20
"""Pairs to compare at once: 100 MB."""
SMALLEST_BAND: Final = 1e-3
"""Pixels; boxes without a height would otherwise need infinitely many bands."""

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
    if can_run(boxes.device):
        from head_detection.kernels.suppression import greedy_keep  # noqa: PLC0415 - imports Triton

        return greedy_keep(boxes, scores, iou_threshold), None
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
    """List the pairs of nearby boxes, or run torchvision's operator on several groups per call."""
    groups, count = scores.shape
    own_scores = scores.detach().cpu().numpy().reshape(-1)
    filled = np.flatnonzero(own_scores > EMPTY)
    kept = np.zeros(groups * count, np.bool_)
    if not len(filled):
        return kept.reshape(groups, count)
    group_of = filled // count
    moved = _apart(boxes.detach().cpu().numpy().reshape(-1, 4)[filled], group_of)
    pairs = _pairs_of_many(moved, iou_threshold)
    if pairs is not None:  # a box's index tells how good it is within its group
        kept[filled] = _settle(*pairs, len(filled))
        return kept.reshape(groups, count)
    own_scores = own_scores[filled].astype(np.float64)
    for part in _whole_groups(np.bincount(group_of, minlength=groups)):
        kept[filled[part][_one_call(moved[part], own_scores[part], iou_threshold)]] = True
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


def keep_boxes(
    boxes: Annotated[Array, "n 4"], scores: Annotated[Array, "n"], iou_threshold: float
) -> Annotated[Indices, "k"]:
    """Return the indices of the kept boxes of one group, by descending score.

    Args:
        boxes: ``(N, 4)`` xyxy, finite.
        scores: ``(N,)``.
        iou_threshold: as ``greedy_nms``.

    Example:
        >>> boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 20, 10, 30]])
        >>> keep_boxes(boxes, np.array([0.9, 0.8, 0.7]), 0.5).tolist()
        [0, 2]
    """
    order = np.argsort(-scores, kind="stable")
    pairs = _pairs_of_many(boxes[order], iou_threshold)
    if pairs is None:
        return _one_call(boxes, scores, iou_threshold)
    kept: Indices = order[_settle(*pairs, len(boxes))]
    return kept


def pairs_of_groups(
    boxes: Annotated[Tensor, "g k 4"], scores: Annotated[Tensor, "g k"], iou_threshold: float
) -> tuple[Indices, Indices] | None:
    """Return all pairs of a group's boxes whose IoU is above the threshold; None if too many.

    It synchronises with a GPU.

    Args:
        boxes: ``(G, K, 4)`` xyxy.
        scores: ``(G, K)``, ``EMPTY`` in empty slots.
        iou_threshold: 0 to 1.

    Returns:
        Flat indices into the G*K boxes, as ``overlapping_pairs``.
    """
    filled = np.flatnonzero(scores.detach().cpu().numpy() > EMPTY)
    if not len(filled):
        return filled, filled
    own = boxes.detach().cpu().numpy().reshape(-1, 4)[filled]
    pairs = overlapping_pairs(_apart(own, filled // scores.shape[1]), iou_threshold)
    return None if pairs is None else (filled[pairs[0]], filled[pairs[1]])


def _apart(boxes: npt.NDArray[np.floating], group_of: Indices) -> Array:
    """Return the boxes with groups shifted down, in float64, as float32 would lose digits."""
    moved = boxes.astype(np.float64)
    moved[:, 1::2] += ((group_of - group_of[0]) * (moved.max() - moved.min() + 1))[:, None]
    return moved


def _pairs_of_many(boxes: Array, iou_threshold: float) -> tuple[Indices, Indices] | None:
    """Return the overlapping pairs, or None if the operator is faster."""
    if len(boxes) <= FEW:
        return None
    most_near = min(NEAR_SHARE * len(boxes) ** 2, MOST_NEAR)
    return overlapping_pairs(boxes, iou_threshold, int(most_near))


def _one_call(boxes: Array, scores: Array, iou_threshold: float) -> Indices:
    kept: Tensor = nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou_threshold)
    indices: Indices = kept.numpy()
    return indices


def _settle(better: Indices, worse: Indices, count: int) -> npt.NDArray[np.bool_]:
    """Tell which of ``count`` boxes are kept if kept boxes suppress worse ones.

    The rounds are those of ``_keep_in_rounds``. A long chain of boxes would take one round per box,
    so the pairs are then taken one by one.

    Args:
        better: ``(N,)``, the better box of each pair; a smaller number is better.
        worse: ``(N,)``, the other box.
        count: number of boxes.

    Example:
        Box 0 suppresses box 1, which therefore does not suppress box 2.

        >>> _settle(np.array([0, 1]), np.array([1, 2]), 3).tolist()
        [True, False, True]
    """
    kept = np.ones(count, np.bool_)
    for _ in range(ROUNDS):
        before, kept = kept, np.ones(count, np.bool_)
        kept[worse[before[better]]] = False
        if np.array_equal(kept, before):
            return kept
    order = np.argsort(better)
    stays = [True] * count
    for own, other in zip(better[order].tolist(), worse[order].tolist(), strict=True):
        stays[other] &= not stays[own]
    return np.array(stays)


def overlapping_pairs(
    boxes: Annotated[Array, "n 4"], iou_threshold: float, most_near: int = MOST_NEAR
) -> tuple[Annotated[Indices, "k"], Annotated[Indices, "k"]] | None:
    """Return all pairs of boxes whose IoU is above the threshold; None if too many are near.

    Args:
        boxes: ``(N, 4)`` xyxy, finite.
        iou_threshold: 0 to 1.
        most_near: most pairs to compare.

    Returns:
        The smaller and the larger index of each pair, each pair once, in any order.

    Example:
        >>> boxes = np.array([[0.0, 0, 10, 10], [50, 0, 60, 10], [0, 0, 10, 8]])
        >>> overlapping_pairs(boxes, 0.5)
        (array([0]), array([2]))
    """
    parts = _near_pairs(boxes, iou_threshold, most_near)
    if parts is None:
        return None
    columns = np.ascontiguousarray(boxes.T)
    over = [_overlapping(columns, *part, iou_threshold) for part in parts]
    first, second = (np.concatenate(side) for side in zip(*over, strict=True))
    return np.minimum(first, second), np.maximum(first, second)


def reach(iou_threshold: float) -> float:
    """Return a share: boxes shrunk to it about their centres touch if their IoU is above t.

    The shared part of two boxes, w by h and W by H, is larger than t/(1+t) (wh + WH), so than
    2t/(1+t) sqrt(wW hH). It is at most sqrt(hH) high, so over 2t/(1+t) sqrt(wW) wide. An IoU above
    t also needs w > tW, so sqrt(wW) is at least 2 sqrt(t)/(1+t) times the mean of w and W. Along
    each axis, the centres are apart by at most that mean minus the shared width.

    Example:
        >>> round(reach(0.7), 2), reach(0.0), reach(1.0)
        (0.19, 1.0, 0.0)
    """
    return float(1 - 4 * iou_threshold**1.5 / (1 + iou_threshold) ** 2)


def _near_pairs(
    boxes: Array, iou_threshold: float, most_near: int
) -> Iterator[tuple[Indices, Indices]] | None:
    """Yield nearby pairs of boxes, once each, including all that overlap; None if too many.

    Boxes are first shrunk by ``reach``. Each is assigned to every horizontal band that it touches.
    Sorted by left edge within a band, the boxes that start within the columns of a box directly
    follow it.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]).T / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).T * (reach(iou_threshold) / 2)
    (left, top), (right, bottom) = centres - halves, centres + halves
    # The mean limits the entries to 2.5 per box.
    band = max(2 * float(np.mean(bottom - top)), SMALLEST_BAND)
    first, last = (np.floor(lines / band).astype(np.int64) for lines in (top, bottom))
    counts = last - first + 1
    box_of = np.repeat(np.arange(len(boxes)), counts)
    band_of = np.repeat(first, counts) + _count_up(counts)
    far = right.max() - left.min() + 1
    begins = band_of * far + left[box_of]
    order = np.argsort(begins)
    ends = (band_of * far + right[box_of])[order]
    followers = np.searchsorted(begins[order], ends, side="right") - np.arange(len(order)) - 1
    if followers.sum() > most_near:
        return None
    return _followed(box_of[order], followers, band_of[order], (top, bottom), band)


def _followed(
    box_of: Indices,
    followers: Indices,
    band_of: Indices,
    lines: tuple[Array, Array],
    band: float,
) -> Iterator[tuple[Indices, Indices]]:
    """Yield pairs of each entry's box with the boxes of its followers, in parts."""
    top, bottom = lines
    cuts = np.searchsorted(
        followers.cumsum(), np.arange(NEAR_AT_ONCE, followers.sum(), NEAR_AT_ONCE)
    )
    for own in np.split(np.arange(len(box_of)), cuts):
        entry = np.repeat(own, followers[own])
        other = entry + 1 + _count_up(followers[own])
        one, two = box_of[entry], box_of[other]
        begin = np.maximum(top[one], top[two])
        # Two boxes are paired in every band that both touch; keep only the first of these.
        is_first = band_of[entry] == np.floor(begin / band)
        is_near = is_first & (begin <= np.minimum(bottom[one], bottom[two]))
        yield one[is_near], two[is_near]


def _count_up(counts: Indices) -> Indices:
    """Return 0, 1, ... for each count.

    Example:
        >>> _count_up(np.array([2, 0, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    starts: Indices = np.repeat(counts.cumsum() - counts, counts)
    return np.arange(len(starts)) - starts


def _overlapping(
    columns: Array, first: Indices, second: Indices, iou_threshold: float
) -> tuple[Indices, Indices]:
    """Return the pairs whose IoU is above the threshold.

    Args:
        columns: ``(4, N)``, the boxes' left, top, right and bottom.
        first: ``(M,)``, one box of each pair.
        second: ``(M,)``, the other box.
        iou_threshold: as ``greedy_nms``.
    """
    left, top, right, bottom = columns
    width = np.minimum(right[first], right[second]) - np.maximum(left[first], left[second])
    height = np.minimum(bottom[first], bottom[second]) - np.maximum(top[first], top[second])
    shared = width.clip(min=0) * height.clip(min=0)
    areas = (right - left) * (bottom - top)
    with np.errstate(invalid="ignore"):  # two boxes without area
        is_over = shared / (areas[first] + areas[second] - shared) > iou_threshold
    return first[is_over], second[is_over]
