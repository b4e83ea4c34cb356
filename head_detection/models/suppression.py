"""One box and one score for each head, of all that was found of it."""

from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

import torch
from torch import Tensor

from head_detection.models.nms import EMPTY, greedy_nms, iou_matrix, row_parts

SURE_SHARE: Final = 0.9
"""Each view measures a head a little otherwise: under this share of its largest, or its smallest
under this share of the head, it surely has it among its own."""


class Candidates(NamedTuple):
    """What may be a head: N slots for each of B pictures, in network pixels of the first view.

    Attributes:
        boxes: ``(B, N, 4)`` xyxy, zeros in empty slots.
        scores: ``(B, N)``, ``EMPTY`` in empty slots; in no order.
        view: ``(B, N)`` int64: the view that each slot belongs to; None where there is one.
        sizes: ``(B, V, 2)``: root of area of the smallest and the largest head that each view
            answers for, nothing where it was not made of the picture; None where there is one.
        is_settled: bool scalar, False where suppression was not followed to its end, or a limit was
            in the way that grows where the device is waited for; None where neither is for certain.
        is_cut: ``(B,)`` bool on the CPU: a limit left out likely heads, grown as it was; None where
            it did in no picture.
    """

    boxes: Annotated[Tensor, "b n 4"]
    scores: Annotated[Tensor, "b n"]
    view: Annotated[Tensor, "b n"] | None = None
    sizes: Annotated[Tensor, "b v 2"] | None = None
    is_settled: Annotated[Tensor, ""] | None = None
    is_cut: Annotated[Tensor, "b"] | None = None


class Heads(NamedTuple):
    """The heads of B pictures: K slots each, those that hold one first, by falling score.

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
        sigma: of the Gaussian; a score is multiplied by ``exp(-iou^2 / sigma)``.
        score_threshold: boxes whose lowered score is not above this are dropped.
    """

    sigma: float
    score_threshold: float


@dataclass(frozen=True)
class Suppression:
    """How one box a head is chosen.

    Args:
        score_threshold: candidates, and the means of several views, are above it.
        nms_iou_threshold: a box goes where a better one overlaps it by more.
        limit: heads a picture at most.
        soft_nms: in place of the hard one; scores of several views are then not averaged.
        voting_iou_threshold: a box becomes the mean of those that overlap it so much; None leaves
            it where it is.
        grows: the limit is that of a device that is not waited for; where it is reached there, the
            heads are not settled, and elsewhere there is none.
        room: times the limit on such a device.
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
            candidates: above the threshold; those that are empty are left out.
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
        return self._agree(heads, kept, Candidates(boxes, scores, view, sizes))

    def _keep(
        self, boxes: Tensor, scores: Tensor, *, waits: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the ``(B, K)`` indices and scores of what stays, and whether it is settled."""
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

    def _agree(self, heads: Heads, kept: Tensor, candidates: Candidates) -> Heads:
        """Let the candidates vote for positions, and the views for scores."""
        is_head = heads.scores > EMPTY
        head_of = torch.full_like(candidates.scores, -1, dtype=torch.int64)
        boxes = torch.empty_like(heads.boxes)
        for rows in row_parts(len(kept), kept.shape[1], candidates.scores.shape[1]):
            overlaps = iou_matrix(heads.boxes[:, rows], candidates.boxes)
            own = is_head[:, rows], kept[:, rows]
            if self.voting_iou_threshold is not None:
                boxes[:, rows] = vote(overlaps, candidates, *own, self.voting_iou_threshold)
            if candidates.sizes is not None:
                first = first_overlap(overlaps, *own, self.nms_iou_threshold)
                head_of = torch.where((head_of < 0) & (first >= 0), first + rows.start, head_of)
        if self.voting_iou_threshold is not None:
            heads = heads._replace(boxes=boxes)
        if candidates.sizes is None:
            return heads
        # The size that the views are asked for is that of the box before others voted.
        size = box_sizes(gather_boxes(candidates.boxes, kept))
        scores = mean_scores(size, kept, head_of, candidates)
        is_likely = is_head & (scores > self.score_threshold)
        scores, order = scores.masked_fill(~is_likely, EMPTY).sort(
            dim=1, descending=True, stable=True
        )
        return heads._replace(boxes=gather_boxes(heads.boxes, order), scores=scores)


def gaussian_soft_nms(
    boxes: Annotated[Tensor, "b n 4"],
    scores: Annotated[Tensor, "b n"],
    soft_nms: SoftNms,
    limit: int,
) -> tuple[Annotated[Tensor, "b k"], Annotated[Tensor, "b k"]]:
    """Lower each score by its overlap with every better box of its picture.

    Args:
        boxes: ``(B, N, 4)`` xyxy.
        scores: ``(B, N)`` in 0..1, or ``EMPTY``.
        soft_nms: how.
        limit: boxes a picture at most.

    Returns:
        ``(B, K)`` indices and lowered scores, falling, ``EMPTY`` where too low; the two belong
        together element by element.

    Source:
        Bodla et al., Soft-NMS, ICCV 2017, equation 4. The overlaps are computed once, all pictures
        go step by step together, and nothing leaves the device.

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
        # With its dimension kept it is an index; a scalar would be fetched from the device.
        best = remaining.argmax(dim=1, keepdim=True)
        score = remaining.gather(1, best)
        picked[:, place : place + 1], lowered[:, place : place + 1] = best, score
        factors = decay.gather(1, best[..., None].expand(-1, -1, decay.shape[2])).squeeze(1)
        # Below every score, so that it is not picked again.
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
        is_head: ``(B, K)``; elsewhere the mean is of no meaning.
        kept: ``(B, K)`` indices of the kept boxes.
        iou_threshold: boxes that overlap a kept one by at least so much vote; itself always does.

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
    # Validation runs under autocast, which would round boxes to the few digits of bfloat16.
    with torch.autocast(votes.device.type, enabled=False):
        placed = torch.bmm(votes, candidates.boxes) / votes.sum(dim=2, keepdim=True)
    return placed.masked_fill(~is_head[..., None], 0.0)


def first_overlap(
    overlaps: Annotated[Tensor, "b k n"],
    is_head: Annotated[Tensor, "b k"],
    kept: Annotated[Tensor, "b k"],
    iou_threshold: float,
) -> Annotated[Tensor, "b n"]:
    """Return ``(B, N)`` int64: the first head that overlaps each candidate, -1 where none does.

    That is the one which suppression took it for. Arguments are those of ``vote``.

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

    A view's score of a head is the best among those of its boxes that were suppressed for that
    head, and 0 if there is none: what one view alone takes for a head is often none.

    Args:
        size: ``(B, K)`` root of area of each head.
        kept: ``(B, K)`` indices of the heads among the candidates.
        head_of: ``(B, N)`` in 0..K-1: the head that each candidate is of, -1 for none.
        candidates: of several views.

    Returns:
        ``(B, K)``, no longer falling.

    Source:
        Solovyev et al., Weighted boxes fusion, Image and Vision Computing 2021, section 3, where a
        score is lowered by the share of models that did not find the box; here only those count
        that are valid for its size, as in Singh and Davis, An Analysis of Scale Invariance in
        Object Detection, CVPR 2018.
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
    """Return the ``(B, K, 4)`` boxes at ``(B, K)`` indices of ``(B, N, 4)`` ones."""
    return boxes.gather(1, indices[..., None].expand(-1, -1, 4))


def filled_width(scores: Annotated[Tensor, "b n"]) -> int:
    """Return how many of the ``(B, N)`` slots hold something, in the fullest picture.

    Args:
        scores: falling in each picture. A GPU is waited for; on a CPU this is no operator.
    """
    return int((scores.detach().cpu().numpy() > EMPTY).sum(axis=1).max(initial=0))


def all_of(*flags: Annotated[Tensor, ""] | None) -> Annotated[Tensor, ""] | None:
    """Return whether all flags are set, those that are None for certain; None if all are."""
    known = [flag for flag in flags if flag is not None]
    return torch.stack(known).all() if len(known) > 1 else next(iter(known), None)


def any_of(
    *flags: Annotated[Tensor, "b"] | None,
) -> Annotated[Tensor, "b"] | None:
    """Return, picture by picture, whether any flag is set, those that are None not; None if all."""
    known = [flag for flag in flags if flag is not None]
    return torch.stack(known).any(dim=0) if known else None
