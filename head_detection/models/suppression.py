"""Suppression: reduce the candidates of each head to one box and one score."""

from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from head_detection.kernels import can_run
from head_detection.models.agreement import first_heads, list_supporters, mean_boxes
from head_detection.models.nms import EMPTY, greedy_nms, iou_matrix, row_parts

SURE_SHARE: Final = 0.9
"""Tolerance for views that measure a head's size slightly differently: a view surely answers for a
head under this share of its largest size, or if its smallest is under this share of the head."""


class Candidates(NamedTuple):
    """Possible heads: N slots for each of B pictures, in network pixels of the first view.

    Attributes:
        boxes: ``(B, N, 4)`` xyxy, zeros in empty slots.
        scores: ``(B, N)``, ``EMPTY`` in empty slots; not sorted.
        view: ``(B, N)`` int64: the view of each slot; None if there is only one view.
        sizes: ``(B, V, 2)``: root of area of the smallest and the largest head that each view
            answers for, an empty range if the picture has no such view; None for a single view.
        is_settled: bool scalar; False if suppression did not run to its end, or if a limit was too
            small that would have grown with synchronising; None if it is certainly settled.
        is_cut: ``(B,)`` bool on the CPU: whether a limit at its maximum left out likely heads; None
            if it did in no picture.
    """

    boxes: Annotated[Tensor, "b n 4"]
    scores: Annotated[Tensor, "b n"]
    view: Annotated[Tensor, "b n"] | None = None
    sizes: Annotated[Tensor, "b v 2"] | None = None
    is_settled: Annotated[Tensor, ""] | None = None
    is_cut: Annotated[Tensor, "b"] | None = None


class Heads(NamedTuple):
    """The heads of B pictures: K slots each, filled slots first, by descending score.

    Attributes:
        boxes: ``(B, K, 4)`` xyxy.
        scores: ``(B, K)``, ``EMPTY`` in empty slots.
        is_settled: as ``Candidates``.
        is_cut: as ``Candidates``.
    """

    boxes: Annotated[Tensor, "b k 4"]
    scores: Annotated[Tensor, "b k"]
    is_settled: Annotated[Tensor, ""] | None = None
    is_cut: Annotated[Tensor, "b"] | None = None


class SoftNms(NamedTuple):
    """Gaussian soft-NMS.

    Attributes:
        sigma: width of the Gaussian; a score is multiplied by ``exp(-iou^2 / sigma)``.
        score_threshold: boxes whose reduced score is not above this are dropped.
    """

    sigma: float
    score_threshold: float


@dataclass(frozen=True)
class Suppression:
    """Chooses one box per head.

    Args:
        score_threshold: candidates, and mean scores of several views, must be above it.
        nms_iou_threshold: a box is dropped if a better one overlaps it by more.
        limit: most heads per picture.
        soft_nms: replaces hard suppression; scores of several views are then not averaged.
        voting_iou_threshold: a box becomes the mean of the boxes that overlap it by at least this;
            None keeps it.
        grows: the limit applies only without synchronising; heads that reach it there are not
            settled. With synchronising, there is no limit.
        room: factor on the limit without synchronising.
    """

    score_threshold: float
    nms_iou_threshold: float
    limit: int
    soft_nms: SoftNms | None = None
    voting_iou_threshold: float | None = None
    grows: bool = False
    room: int = 1

    def __call__(self, candidates: Candidates, *, waits: bool) -> Heads:
        """Return the heads in the pixels of the candidates.

        Args:
            candidates: above the threshold; empty slots are left out.
            waits: as ``greedy_nms``.
        """
        scores, order = candidates.scores.sort(dim=1, descending=True, stable=True)
        width = filled_width(scores) if waits else scores.shape[1]
        scores, order = scores[:, :width], order[:, :width]
        boxes = gather_boxes(candidates.boxes, order)
        kept, kept_scores, is_settled = self._keep(boxes, scores, waits=waits)
        if waits:
            width = filled_width(kept_scores)
            kept, kept_scores = kept[:, :width], kept_scores[:, :width]
        view = None if candidates.view is None else candidates.view.gather(1, order)
        sizes = None if self.soft_nms is not None else candidates.sizes
        is_settled = all_of(candidates.is_settled, is_settled)
        heads = Heads(gather_boxes(boxes, kept), kept_scores, is_settled, candidates.is_cut)
        if sizes is None and self.voting_iou_threshold is None:
            return heads
        return self._agree(heads, kept, Candidates(boxes, scores, view, sizes), waits=waits)

    def _keep(
        self, boxes: Tensor, scores: Tensor, *, waits: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the ``(B, K)`` indices and scores of kept boxes, and whether they are settled."""
        limit = scores.shape[1] if self.grows and waits else self.limit * self.room
        if self.soft_nms is not None:
            kept, kept_scores = gaussian_soft_nms(boxes, scores, self.soft_nms, limit)
            is_settled = None
            rest = kept_scores[:, limit - 1 :]
        else:
            stays, is_settled = greedy_nms(boxes, scores, self.nms_iou_threshold, waits=waits)
            kept_scores = scores.masked_fill(~stays, EMPTY)
            kept_scores, kept = kept_scores.sort(dim=1, descending=True, stable=True)
            rest = kept_scores[:, limit : limit + 1]
        if self.grows and not waits and rest.shape[1]:
            is_settled = all_of(is_settled, (rest == EMPTY).all())
        return kept[:, :limit], kept_scores[:, :limit], is_settled

    def _agree(self, heads: Heads, kept: Tensor, candidates: Candidates, *, waits: bool) -> Heads:
        """Refine boxes by the candidates' votes, and scores by averaging over views."""
        is_head = heads.scores > EMPTY
        agreed = None
        if can_run(kept.device):
            agreed = self._agree_in_kernels(heads.boxes, is_head, kept, candidates)
        elif waits and self.voting_iou_threshold != 0:  # at 0, boxes vote that are in no list
            agreed = self._agree_in_lists(heads.boxes, is_head, kept, candidates)
        boxes, head_of = agreed or self._agree_in_tables(heads.boxes, is_head, kept, candidates)
        if self.voting_iou_threshold is not None:
            heads = heads._replace(boxes=boxes)
        if candidates.sizes is None:
            return heads
        # Choose the views by the size of the box before voting.
        size = box_sizes(gather_boxes(candidates.boxes, kept))
        scores = mean_scores(size, kept, head_of, candidates)
        is_likely = is_head & (scores > self.score_threshold)
        scores, order = scores.masked_fill(~is_likely, EMPTY).sort(
            dim=1, descending=True, stable=True
        )
        return heads._replace(boxes=gather_boxes(heads.boxes, order), scores=scores)

    def _agree_in_kernels(
        self, heads: Tensor, is_head: Tensor, kept: Tensor, candidates: Candidates
    ) -> tuple[Tensor, Tensor]:
        """Return what ``_agree_in_tables`` does, without tables."""
        from head_detection.kernels import suppression  # noqa: PLC0415 - imports Triton

        boxes, head_of = heads, kept
        own = (heads, kept, is_head, candidates.boxes)
        if self.voting_iou_threshold is not None:
            boxes = suppression.vote(*own, candidates.scores, self.voting_iou_threshold)
        if candidates.sizes is not None:
            head_of = suppression.first_overlap(*own, self.nms_iou_threshold)
        return boxes, head_of

    def _agree_in_lists(
        self, heads: Tensor, is_head: Tensor, kept: Tensor, candidates: Candidates
    ) -> tuple[Tensor, Tensor] | None:
        """Return what ``_agree_in_tables`` does, from lists of pairs; None if they are too long."""
        boxes, head_of, scores = heads, kept, candidates.scores
        own = (candidates.boxes, scores, kept, is_head)
        if self.voting_iou_threshold is not None:
            # A box that overlaps by just as much votes, too.
            voters = list_supporters(*own, float(np.nextafter(self.voting_iou_threshold, -1)))
            if voters is None:
                return None
            boxes = mean_boxes(voters, candidates.boxes, scores, kept.shape[1])
        if candidates.sizes is not None:
            supporters = list_supporters(*own, self.nms_iou_threshold)
            if supporters is None:
                return None
            head_of = first_heads(supporters, scores, kept.shape[1])
        return boxes, head_of

    def _agree_in_tables(
        self, heads: Tensor, is_head: Tensor, kept: Tensor, candidates: Candidates
    ) -> tuple[Tensor, Tensor]:
        """Return the boxes ``(B, K, 4)`` after voting, and each candidate's head ``(B, N)``."""
        head_of = torch.full_like(candidates.scores, -1, dtype=torch.int64)
        boxes = torch.empty_like(heads)
        for rows in row_parts(len(kept), kept.shape[1], candidates.scores.shape[1]):
            overlaps = iou_matrix(heads[:, rows], candidates.boxes)
            own = is_head[:, rows], kept[:, rows]
            if self.voting_iou_threshold is not None:
                boxes[:, rows] = vote(overlaps, candidates, *own, self.voting_iou_threshold)
            if candidates.sizes is not None:
                first = first_overlap(overlaps, *own, self.nms_iou_threshold)
                head_of = torch.where((head_of < 0) & (first >= 0), first + rows.start, head_of)
        return boxes, head_of


def gaussian_soft_nms(
    boxes: Annotated[Tensor, "b n 4"],
    scores: Annotated[Tensor, "b n"],
    soft_nms: SoftNms,
    limit: int,
) -> tuple[Annotated[Tensor, "b k"], Annotated[Tensor, "b k"]]:
    """Reduce each score by its box's overlap with every better box of its picture.

    Args:
        boxes: ``(B, N, 4)`` xyxy.
        scores: ``(B, N)`` in 0..1, or ``EMPTY``.
        soft_nms: its parameters.
        limit: most boxes per picture.

    Returns:
        ``(B, K)`` indices and the corresponding reduced scores, descending, ``EMPTY`` if too low.

    Source:
        Bodla et al., Soft-NMS, ICCV 2017, equation 4. The overlaps are computed once, each step
        handles all pictures, and nothing leaves the device.

    Example:
        >>> boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10.0]]])
        >>> kept, scores = gaussian_soft_nms(
        ...     boxes, torch.tensor([[0.9, 0.8, 0.7]]), SoftNms(0.5, 0.0), 10)
        >>> kept.tolist(), [round(score, 3) for score in scores[0].tolist()]
        ([[0, 2, 1]], [0.9, 0.7, 0.108])
    """
    decay = torch.exp(-(iou_matrix(boxes, boxes).nan_to_num() ** 2) / soft_nms.sigma)
    remaining, count = scores, min(limit, scores.shape[1])
    picked = torch.empty(len(scores), count, dtype=torch.int64, device=scores.device)
    lowered = torch.empty_like(scores[:, :count])
    for place in range(count):
        # keepdim gives an index tensor; a scalar index would synchronise.
        best = remaining.argmax(dim=1, keepdim=True)
        score = remaining.gather(1, best)
        picked[:, place : place + 1], lowered[:, place : place + 1] = best, score
        factors = decay.gather(1, best[..., None].expand(-1, -1, decay.shape[2])).squeeze(1)
        # EMPTY is below every score, so the box is not picked again.
        remaining = (remaining * factors).scatter(1, best, EMPTY)
        remaining = torch.where(remaining < 0, EMPTY, remaining)
    return picked, lowered.masked_fill(lowered <= soft_nms.score_threshold, EMPTY)


def vote(
    overlaps: Annotated[Tensor, "b k n"],
    candidates: Candidates,
    is_head: Annotated[Tensor, "b k"],
    kept: Annotated[Tensor, "b k"],
    iou_threshold: float,
) -> Annotated[Tensor, "b k 4"]:
    """Return the mean, weighted by score, of the boxes that overlap each kept one.

    Args:
        overlaps: ``(B, K, N)`` IoU of the kept boxes with all candidates.
        candidates: of B pictures.
        is_head: ``(B, K)``, whether the slot holds a head; other slots become zeros.
        kept: ``(B, K)`` indices of the kept boxes.
        iou_threshold: boxes that overlap a kept one by at least this vote; the box itself always
            does.

    Returns:
        ``(B, K, 4)`` xyxy in the same pixels.

    Source:
        Gidaris and Komodakis, Object detection via a multi-region and semantic segmentation-aware
        CNN model, ICCV 2015, section 4.2.

    Example:
        >>> boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60.0]]])
        >>> overlaps = torch.tensor([[[1.0, 0.8, 0.0], [0.0, 0.0, 1.0]]])
        >>> found = Candidates(boxes, torch.tensor([[0.75, 0.25, 0.9]]))
        >>> kept = torch.tensor([[0, 2]])
        >>> vote(overlaps, found, kept >= 0, kept, 0.5).tolist()
        [[[0.0, 0.0, 10.0, 9.5], [50.0, 50.0, 60.0, 60.0]]]
    """
    weights = candidates.scores.clamp(min=torch.finfo(torch.float32).tiny)
    votes = (overlaps >= iou_threshold) * weights[:, None]
    votes = votes.scatter(2, kept[..., None], weights.gather(1, kept)[..., None])
    # Validation runs under autocast, which would round boxes to bfloat16.
    with torch.autocast(votes.device.type, enabled=False):
        placed = torch.bmm(votes, candidates.boxes) / votes.sum(dim=2, keepdim=True)
    return placed.masked_fill(~is_head[..., None], 0.0)


def first_overlap(
    overlaps: Annotated[Tensor, "b k n"],
    is_head: Annotated[Tensor, "b k"],
    kept: Annotated[Tensor, "b k"],
    iou_threshold: float,
) -> Annotated[Tensor, "b n"]:
    """Return ``(B, N)`` int64: the first head that overlaps each candidate, -1 if none does.

    This is the head that suppressed the candidate. The arguments are those of ``vote``.

    Example:
        >>> overlaps = torch.tensor([[[1.0, 0.8, 0.1], [0.0, 0.7, 0.2]]])
        >>> kept = torch.tensor([[0, 1]])
        >>> first_overlap(overlaps, kept >= 0, kept, 0.5).tolist()
        [[0, 0, -1]]
    """
    is_same = (overlaps > iou_threshold).scatter(2, kept[..., None], value=True)
    is_same &= is_head[..., None]
    numbers = is_same.to(torch.uint8)
    return numbers.argmax(dim=1).masked_fill(~is_same.any(dim=1), -1)


def mean_scores(
    size: Annotated[Tensor, "b k"],
    kept: Annotated[Tensor, "b k"],
    head_of: Annotated[Tensor, "b n"],
    candidates: Candidates,
) -> Annotated[Tensor, "b k"]:
    """Return the mean score of each head over the views that answer for heads of its size.

    A view's score for a head is the highest of its boxes that the head suppressed, or 0 if there is
    none, because a head that only one view finds is often a false alarm.

    Args:
        size: ``(B, K)`` root of area of each head.
        kept: ``(B, K)`` indices of the heads among the candidates.
        head_of: ``(B, N)`` in 0..K-1: the head that each candidate belongs to, -1 for none.
        candidates: of several views.

    Returns:
        ``(B, K)``, not sorted.

    Source:
        Solovyev et al., Weighted boxes fusion, Image and Vision Computing 2021, section 3, where a
        score is reduced by the share of models that did not find the box. Here only views that are
        valid for its size count, as in Singh and Davis, An Analysis of Scale Invariance in Object
        Detection, CVPR 2018.
    """
    if candidates.view is None or candidates.sizes is None:
        raise ValueError("candidates: expected those of several views")
    batch, num_heads = kept.shape
    num_views = candidates.sizes.shape[1]
    votes = candidates.scores.clamp(min=0) * (head_of >= 0)
    slots = head_of.clamp(min=0) * num_views + candidates.view
    best = votes.new_zeros(batch, num_heads * num_views).scatter_reduce(1, slots, votes, "amax")
    smallest, largest = candidates.sizes[:, None].unbind(3)
    answers = (smallest <= SURE_SHARE * size[..., None]) & (size[..., None] <= SURE_SHARE * largest)
    answers = answers.scatter(2, candidates.view.gather(1, kept)[..., None], value=True)
    return (best.view(batch, num_heads, num_views) * answers).sum(dim=2) / answers.sum(dim=2)


def box_sizes(boxes: Annotated[Tensor, "*n 4"]) -> Annotated[Tensor, "*n"]:
    """Return ``(...)`` roots of area of ``(..., 4)`` xyxy boxes."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides[..., 0] * sides[..., 1]).sqrt()


def gather_boxes(
    boxes: Annotated[Tensor, "b n 4"], indices: Annotated[Tensor, "b k"]
) -> Annotated[Tensor, "b k 4"]:
    """Return the ``(B, K, 4)`` boxes at ``(B, K)`` indices into ``(B, N, 4)`` boxes."""
    return boxes.gather(1, indices[..., None].expand(-1, -1, 4))


def filled_width(scores: Annotated[Tensor, "b n"]) -> int:
    """Return the number of filled slots in the fullest picture.

    It synchronises with a GPU, and is no operator on a CPU.

    Args:
        scores: ``(B, N)``, descending in each picture.
    """
    return int((scores.detach().cpu().numpy() > EMPTY).sum(axis=1).max(initial=0))


def all_of(*flags: Annotated[Tensor, ""] | None) -> Annotated[Tensor, ""] | None:
    """Return whether all flags are set, where None counts as set; None if all are None."""
    known = [flag for flag in flags if flag is not None]
    return torch.stack(known).all() if len(known) > 1 else next(iter(known), None)


def any_of(
    *flags: Annotated[Tensor, "b"] | None,
) -> Annotated[Tensor, "b"] | None:
    """Return, per picture, whether any flag is set, ignoring None; None if all are None."""
    known = [flag for flag in flags if flag is not None]
    return torch.stack(known).any(dim=0) if known else None
