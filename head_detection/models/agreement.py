"""Agreement of the candidates of each head, from a list of the pairs that overlap.

On a CPU, this takes a fraction of the time of a table of all heads and all candidates, which
``suppression`` uses where listing pairs would synchronise. Results differ only by rounding.
"""

from typing import Annotated, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from head_detection.models.nms import Indices, pairs_of_groups

TINY: Final = float(np.finfo(np.float32).tiny)
"""Least weight of a vote, so that a box whose score is 0 keeps its own place."""


class Supporters(NamedTuple):
    """Pairs of a head and a candidate that overlap it; each head's own candidate is one.

    Attributes:
        heads: ``(N,)`` flat indices into B*K heads.
        candidates: ``(N,)`` flat indices into B*N candidates.
    """

    heads: Indices
    candidates: Indices


def list_supporters(
    boxes: Annotated[Tensor, "b n 4"],
    scores: Annotated[Tensor, "b n"],
    kept: Annotated[Tensor, "b k"],
    is_head: Annotated[Tensor, "b k"],
    iou_threshold: float,
) -> Supporters | None:
    """Return all candidates of each head, or None if the pairs are too many to list.

    Args:
        boxes: ``(B, N, 4)`` candidates, xyxy.
        scores: ``(B, N)``, ``EMPTY`` in empty slots.
        kept: ``(B, K)`` indices of the heads among the candidates of their picture.
        is_head: ``(B, K)``, whether the slot holds a head.
        iou_threshold: a candidate supports a head if their IoU is above this.
    """
    pairs = pairs_of_groups(boxes, scores, iou_threshold)
    if pairs is None:
        return None
    heads = np.flatnonzero(is_head.cpu().numpy())
    starts = np.arange(len(scores))[:, None] * scores.shape[1]
    own = (kept.cpu().numpy() + starts).reshape(-1)[heads]
    head_of = np.full(scores.numel(), -1)
    head_of[own] = heads
    first, second = pairs
    head = np.concatenate((head_of[first], head_of[second], heads))
    candidate = np.concatenate((second, first, own))
    return Supporters(head[head >= 0], candidate[head >= 0])


def mean_boxes(
    supporters: Supporters,
    boxes: Annotated[Tensor, "b n 4"],
    scores: Annotated[Tensor, "b n"],
    num_heads: int,
) -> Annotated[Tensor, "b k 4"]:
    """Return the mean, weighted by score, of the boxes that support each head.

    Args:
        supporters: of the heads.
        boxes: ``(B, N, 4)`` candidates, xyxy.
        scores: ``(B, N)``.
        num_heads: K, slots per picture; those without a head become zeros.
    """
    heads, candidates = supporters
    shape = (len(scores), num_heads, 4)
    weights = scores.cpu().numpy().reshape(-1)[candidates].astype(np.float64).clip(min=TINY)
    places = boxes.cpu().numpy().reshape(-1, 4)[candidates].T * weights
    count = shape[0] * num_heads
    sums = np.stack([np.bincount(heads, side, count) for side in places], axis=1)
    total = np.bincount(heads, weights, count)[:, None]
    means = (sums / np.where(total > 0, total, 1)).astype(np.float32)
    return torch.from_numpy(means.reshape(shape)).to(boxes.device)


def first_heads(
    supporters: Supporters, scores: Annotated[Tensor, "b n"], num_heads: int
) -> Annotated[Tensor, "b n"]:
    """Return ``(B, N)`` int64: the first head that each candidate supports, -1 for none.

    Args:
        supporters: of the heads.
        scores: ``(B, N)``, of the candidates.
        num_heads: K, slots per picture.
    """
    first = np.full(scores.numel(), num_heads)
    np.minimum.at(first, supporters.candidates, supporters.heads % max(num_heads, 1))
    first[first == num_heads] = -1
    return torch.from_numpy(first.reshape(scores.shape)).to(scores.device)
