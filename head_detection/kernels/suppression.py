"""Greedy suppression and box voting of whole batches, without a table of all overlaps in floats."""

from typing import Annotated, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

WORD: Final = tl.constexpr(32)
"""Boxes whose bits share an integer."""
ROWS: Final = 128
"""Boxes whose bits a program computes."""
STEP: Final = 1024
"""Boxes whose words are read at once."""
NUMBERS: Final = ["count", "heads"]
"""A kernel is not compiled anew for another."""
VOTERS: Final = 16
VOTES: Final = 128
"""Heads and candidates that a program compares at once."""


def greedy_keep(
    boxes: Annotated[Tensor, "g k 4"], scores: Annotated[Tensor, "g k"], iou_threshold: float
) -> Annotated[Tensor, "g k"]:
    """Return ``(G, K)`` bool: the boxes that sequential suppression keeps; it never synchronises.

    Args:
        boxes: ``(G, K, 4)`` xyxy float32 on a GPU.
        scores: ``(G, K)``, descending in each group; negative in empty slots.
        iou_threshold: a box is dropped if a kept box before it overlaps it by more.

    Source:
        The bits of each box are computed as in torchvision's kernel, which then follows the chain
        on the CPU; here a program per group does.
    """
    groups, count = scores.shape
    words = triton.cdiv(count, WORD.value)
    kept = torch.empty((groups, words * WORD.value), dtype=torch.int8, device=boxes.device)
    if not kept.numel():
        return kept[:, :count] > 0
    boxes, scores = boxes.contiguous(), scores.contiguous()
    bits = torch.empty((groups, words, count), dtype=torch.int32, device=boxes.device)
    grid = (triton.cdiv(count, ROWS), words, groups)
    with torch.cuda.device_of(boxes):
        _overlap_bits[grid](boxes, bits, count, iou_threshold, ROWS)
        _follow[(groups,)](bits, scores, kept, count, STEP)
    return kept[:, :count] > 0


@triton.jit
def _sides(boxes, index, is_there):
    left = tl.load(boxes + index * 4, is_there, 0.0)
    top = tl.load(boxes + index * 4 + 1, is_there, 0.0)
    right = tl.load(boxes + index * 4 + 2, is_there, 0.0)
    bottom = tl.load(boxes + index * 4 + 3, is_there, 0.0)
    return left, top, right, bottom


@triton.jit
def _iou(left, top, right, bottom, others_left, others_top, others_right, others_bottom):
    """Return the overlaps of K boxes with N others, ``(K, N)``, as ``models.nms.iou_matrix``."""
    width = tl.minimum(right[:, None], others_right[None, :])
    width = tl.maximum(width - tl.maximum(left[:, None], others_left[None, :]), 0.0)
    height = tl.minimum(bottom[:, None], others_bottom[None, :])
    height = tl.maximum(height - tl.maximum(top[:, None], others_top[None, :]), 0.0)
    shared = width * height
    areas = (right - left) * (bottom - top)
    other_areas = (others_right - others_left) * (others_bottom - others_top)
    return shared / (areas[:, None] + other_areas[None, :] - shared)


@triton.jit(do_not_specialize=NUMBERS[:1])
def _overlap_bits(boxes, bits, count, threshold, rows: tl.constexpr):
    """Write, for each box, the bits of those behind it that it overlaps by more than the threshold.

    ``bits`` is ``(G, words, count)``: bit j of word w of box i stands for box 32 w + j.
    """
    group = tl.program_id(2).to(tl.int64)
    word, words = tl.program_id(1), tl.num_programs(1)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = word * WORD + tl.arange(0, WORD)
    own = boxes + group * count * 4
    is_row, is_column = row < count, column < count
    left, top, right, bottom = _sides(own, row, is_row)
    x1, y1, x2, y2 = _sides(own, column, is_column)
    is_over = _iou(left, top, right, bottom, x1, y1, x2, y2) > threshold
    is_over = is_over & (column[None, :] > row[:, None]) & is_column[None, :]
    value = tl.sum(is_over.to(tl.int32) << tl.arange(0, WORD)[None, :], axis=1)
    tl.store(bits + (group * words + word) * count + row, value, is_row)


@triton.jit
def _or(one, other):
    return one | other


@triton.jit(do_not_specialize=NUMBERS[:1])
def _follow(bits, scores, kept, count, step: tl.constexpr):
    """Decide for 32 boxes after the other: first by all before them, then among themselves."""
    group = tl.program_id(0).to(tl.int64)
    words = tl.cdiv(count, WORD)
    bits += group * words * count
    scores += group * count
    kept += group * words * WORD
    lanes = tl.arange(0, WORD)
    for word in range(words):
        gone = tl.zeros((step,), tl.int32)
        for start in range(0, word * WORD, step):
            row = start + tl.arange(0, step)
            is_before = row < word * WORD
            stays = tl.load(kept + row, is_before, 0)
            theirs = tl.load(bits + word * count + row, is_before, 0)
            gone = gone | tl.where(stays > 0, theirs, 0)
        dropped = tl.reduce(gone, 0, _or)
        column = word * WORD + lanes
        exists = tl.load(scores + column, column < count, -1.0) >= 0.0
        theirs = tl.load(bits + word * count + column, column < count, 0)
        first = exists & (((dropped >> lanes) & 1) == 0)
        stays = first.to(tl.int32)
        num_changed = 1
        while num_changed > 0:  # at most 32 times: each settles at least one box more
            dropped = tl.reduce(tl.where(stays > 0, theirs, 0), 0, _or)
            after = (first & (((dropped >> lanes) & 1) == 0)).to(tl.int32)
            num_changed = tl.sum((after != stays).to(tl.int32), axis=0)
            stays = after
        tl.store(kept + column, stays.to(tl.int8))
        tl.debug_barrier()  # what one thread wrote the others read for the next word


def vote(
    boxes: Annotated[Tensor, "b k 4"],
    kept: Annotated[Tensor, "b k"],
    is_head: Annotated[Tensor, "b k"],
    candidates: Annotated[Tensor, "b n 4"],
    scores: Annotated[Tensor, "b n"],
    iou_threshold: float,
) -> Annotated[Tensor, "b k 4"]:
    """Return the mean boxes of ``models.suppression.vote``, which describes the arguments.

    Args:
        boxes: ``(B, K, 4)`` xyxy float32 on a GPU: the kept ones of the candidates.
        kept: ``(B, K)`` int64: their places among the candidates.
        is_head: ``(B, K)`` bool; other slots become zeros.
        candidates: ``(B, N, 4)``.
        scores: ``(B, N)``.
        iou_threshold: boxes that overlap a kept one by at least this vote.
    """
    batch, heads = kept.shape
    placed = torch.empty_like(boxes, memory_format=torch.contiguous_format)
    if placed.numel():
        with torch.cuda.device_of(boxes):
            _vote[(triton.cdiv(heads, VOTERS), batch)](
                boxes.contiguous(), kept.contiguous(), is_head.contiguous().view(torch.uint8),
                candidates.contiguous(), scores.contiguous(), placed,
                scores.shape[1], heads, iou_threshold, VOTERS, VOTES,
            )  # fmt: skip
    return placed


def first_overlap(
    boxes: Annotated[Tensor, "b k 4"],
    kept: Annotated[Tensor, "b k"],
    is_head: Annotated[Tensor, "b k"],
    candidates: Annotated[Tensor, "b n 4"],
    iou_threshold: float,
) -> Annotated[Tensor, "b n"]:
    """Return ``(B, N)`` int64, as ``models.suppression.first_overlap``; arguments as ``vote``."""
    (batch, heads), count = kept.shape, candidates.shape[1]
    first = torch.empty((batch, count), dtype=torch.int64, device=boxes.device)
    if first.numel():
        with torch.cuda.device_of(boxes):
            _first_overlap[(triton.cdiv(count, VOTES), batch)](
                boxes.contiguous(), kept.contiguous(), is_head.contiguous().view(torch.uint8),
                candidates.contiguous(), first, count, heads, iou_threshold, VOTERS, VOTES,
            )  # fmt: skip
    return first


@triton.jit(do_not_specialize=NUMBERS)
def _vote(
    boxes, kept, is_head, candidates, scores, placed, count, heads, threshold,
    rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    picture = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    is_row = row < heads
    boxes += picture * heads * 4
    candidates += picture * count * 4
    left, top, right, bottom = _sides(boxes, row, is_row)
    own = tl.load(kept + picture * heads + row, is_row, 0)
    is_one = tl.load(is_head + picture * heads + row, is_row, 0) > 0
    total = tl.zeros((rows,), tl.float32)
    mean_left, mean_top, mean_right, mean_bottom = total, total, total, total
    for start in range(0, count, columns):
        column = start + tl.arange(0, columns)
        is_column = column < count
        x1, y1, x2, y2 = _sides(candidates, column, is_column)
        score = tl.load(scores + picture * count + column, is_column, 0.0)
        overlaps = _iou(left, top, right, bottom, x1, y1, x2, y2)
        votes = (overlaps >= threshold) | (own[:, None] == column[None, :])
        weights = tl.maximum(score, 1.1754943508222875e-38)[None, :]
        weights = tl.where(votes & is_column[None, :], weights, 0.0)
        total += tl.sum(weights, axis=1)
        mean_left += tl.sum(weights * x1[None, :], axis=1)
        mean_top += tl.sum(weights * y1[None, :], axis=1)
        mean_right += tl.sum(weights * x2[None, :], axis=1)
        mean_bottom += tl.sum(weights * y2[None, :], axis=1)
    placed += picture * heads * 4 + row * 4
    tl.store(placed, tl.where(is_one, mean_left / total, 0.0), is_row)
    tl.store(placed + 1, tl.where(is_one, mean_top / total, 0.0), is_row)
    tl.store(placed + 2, tl.where(is_one, mean_right / total, 0.0), is_row)
    tl.store(placed + 3, tl.where(is_one, mean_bottom / total, 0.0), is_row)


@triton.jit(do_not_specialize=NUMBERS)
def _first_overlap(
    boxes, kept, is_head, candidates, first, count, heads, threshold,
    rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    picture = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * columns + tl.arange(0, columns)
    is_column = column < count
    boxes += picture * heads * 4
    x1, y1, x2, y2 = _sides(candidates + picture * count * 4, column, is_column)
    best = tl.zeros((columns,), tl.int32) + heads
    for start in range(0, heads, rows):
        row = start + tl.arange(0, rows)
        is_one = tl.load(is_head + picture * heads + row, row < heads, 0) > 0
        own = tl.load(kept + picture * heads + row, row < heads, 0)
        left, top, right, bottom = _sides(boxes, row, row < heads)
        is_over = _iou(left, top, right, bottom, x1, y1, x2, y2) > threshold
        is_over = (is_over | (own[:, None] == column[None, :])) & is_one[:, None]
        best = tl.minimum(best, tl.min(tl.where(is_over, row[:, None], heads), axis=0))
    value = tl.where(best < heads, best, -1).to(tl.int64)
    tl.store(first + picture * count + column, value, is_column)
