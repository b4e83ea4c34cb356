"""Soft-NMS: overlapping boxes lose score instead of being removed."""

import torch
from torch import Tensor
from torchvision.ops import box_iou


def gaussian_soft_nms(
    boxes: Tensor, scores: Tensor, *, sigma: float, score_threshold: float
) -> tuple[Tensor, Tensor]:
    """Lower each score by its overlap with every better box.

    Args:
        boxes: ``(N, 4)`` xyxy.
        scores: ``(N,)`` in [0, 1].
        sigma: of the Gaussian; a score is multiplied by ``exp(-iou^2 / sigma)``.
        score_threshold: boxes whose lowered score is not above this are dropped.

    Returns:
        Indices into ``boxes`` of the kept ones, ``(K,)``, and their lowered scores, falling. The
        two belong together element by element.

    Source:
        Bodla et al., Soft-NMS, ICCV 2017, equation 4. One picture's IoU matrix is computed once
        and nothing leaves the device before the end.

    Example:
        >>> boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10.0]])
        >>> keep, scores = gaussian_soft_nms(
        ...     boxes, torch.tensor([0.9, 0.8, 0.7]), sigma=0.5, score_threshold=0.0)
        >>> keep.tolist(), [round(score, 3) for score in scores.tolist()]
        ([0, 2, 1], [0.9, 0.7, 0.108])
    """
    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64, device=boxes.device), scores
    decay = torch.exp(-(box_iou(boxes, boxes) ** 2) / sigma)
    remaining = scores.clone()
    picked = torch.empty(len(boxes), dtype=torch.int64, device=boxes.device)
    lowered = torch.empty_like(scores)
    for place in range(len(boxes)):
        # With its dimension kept it is an index of one; a scalar would be fetched from the device.
        best = remaining.argmax(dim=0, keepdim=True)
        picked[place : place + 1] = best
        lowered[place : place + 1] = remaining[best]
        remaining = remaining * decay[best].squeeze(0)
        # Below every score, so that it is not picked again.
        remaining.index_fill_(0, best, -1.0)
        remaining = torch.where(remaining < 0, -1.0, remaining)
    keep = lowered > score_threshold
    return picked[keep], lowered[keep]
