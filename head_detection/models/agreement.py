"""One score a head from several looks: the mean of what each look gives it."""

import torch
from torch import Tensor
from torchvision.ops import box_area

from head_detection.models.transform import Target

MARGIN = 0.9
"""Each look measures a head a little otherwise: under this share of its largest, or its smallest
under this share of the head, it surely has it among its own."""


def agree(overlaps: Tensor, candidates: Target, kept: Tensor, iou_threshold: float) -> Tensor:
    """Return the mean score of each kept head over the looks that answer for heads of its size.

    A look's score of a head is the best among those of its boxes that were suppressed for that
    head, and 0 if there is none: what one look alone takes for a head is often none.

    Args:
        overlaps: ``(K, N)`` IoU of the kept boxes with all.
        candidates: ``boxes`` ``(N, 4)`` xyxy and ``scores`` ``(N,)`` before suppression,
            ``looks`` ``(N,)``, the look that each box is from, from 0, and ``sizes`` ``(L, 2)``,
            root of area of the smallest and largest head that each look answers for.
        kept: ``(K,)`` places of those that suppression kept, by falling score.
        iou_threshold: of the suppression.

    Returns:
        ``(K,)``, no longer falling.

    Example:
        >>> candidates = {
        ...     "boxes": torch.tensor([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60.0]]),
        ...     "scores": torch.tensor([0.75, 0.25, 0.5]),
        ...     "looks": torch.tensor([0, 1, 0]),
        ...     "sizes": torch.tensor([[0, float("inf")], [0, 20]]),
        ... }
        >>> overlaps = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.0, 1.0]])
        >>> agree(overlaps, candidates, torch.tensor([0, 2]), 0.5).tolist()
        [0.5, 0.25]
    """
    # The first kept box that overlaps a box so much is the one that suppression took it for.
    scores, looks = candidates["scores"], candidates["looks"]
    smallest, largest = candidates["sizes"].unbind(1)
    is_same = overlaps > iou_threshold
    heads = torch.arange(len(kept), device=kept.device)
    is_same[heads, kept] = True  # a box of no area overlaps nothing
    head = is_same.to(torch.uint8).argmax(dim=0)
    votes = scores * is_same.any(dim=0)  # others were left out with a box past the limit
    best = scores.new_zeros(len(kept) * len(largest))
    best = best.scatter_reduce(0, head * len(largest) + looks, votes, "amax")
    size = box_area(candidates["boxes"][kept]).sqrt()[:, None]
    answers = (smallest <= MARGIN * size) & (size <= MARGIN * largest)
    answers[heads, looks[kept]] = True
    mean: Tensor = (best.view(len(kept), -1) * answers).sum(dim=1) / answers.sum(dim=1)
    return mean
