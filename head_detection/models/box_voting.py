"""Boxes placed by all that were found of a head, not by the best one alone."""

import torch
from torch import Tensor


def vote(
    overlaps: Tensor, boxes: Tensor, scores: Tensor, kept: Tensor, iou_threshold: float
) -> Tensor:
    """Return the mean, weighted by score, of the boxes that overlap each kept one.

    Args:
        overlaps: ``(K, N)`` IoU of the kept boxes with all.
        boxes: ``(N, 4)`` xyxy before suppression.
        scores: ``(N,)`` above 0.
        kept: ``(K,)`` places of those that suppression kept.
        iou_threshold: boxes that overlap a kept one by at least so much vote; itself always does.

    Returns:
        ``(K, 4)`` xyxy in the same frame.

    Source:
        Gidaris and Komodakis, Object detection via a multi-region and semantic segmentation-aware
        CNN model, ICCV 2015, section 4.2.

    Example:
        >>> boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60.0]])
        >>> overlaps = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.0, 1.0]])
        >>> scores, kept = torch.tensor([0.75, 0.25, 0.9]), torch.tensor([0, 2])
        >>> vote(overlaps, boxes, scores, kept, 0.5).tolist()
        [[0.0, 0.0, 10.0, 9.5], [50.0, 50.0, 60.0, 60.0]]
    """
    votes = (overlaps >= iou_threshold) * scores
    votes[torch.arange(len(kept), device=kept.device), kept] = scores[kept]
    # Validation runs under autocast, which would round boxes to the few digits of bfloat16.
    with torch.autocast(boxes.device.type, enabled=False):
        placed: Tensor = votes @ boxes / votes.sum(dim=1, keepdim=True)
    return placed
