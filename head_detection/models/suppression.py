"""One box and one score for each head, of all that was found of it."""

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

from head_detection.config import RoiConfig
from head_detection.models.agreement import agree
from head_detection.models.box_voting import vote
from head_detection.models.candidates import take
from head_detection.models.soft_nms import gaussian_soft_nms
from head_detection.models.transform import Target


def suppress(candidates: Target, config: RoiConfig) -> Target:
    """Return ``boxes`` ``(K, 4)``, ``labels`` and ``scores`` of a picture, by falling score.

    Args:
        candidates: ``boxes`` ``(N, 4)`` xyxy and ``scores`` ``(N,)``. Those of several looks also
            have ``looks`` ``(N,)``, the number of each one's look, and ``sizes`` ``(L, 2)``, the
            smallest and largest head that each look answers for: a head's score is then the mean
            of its looks', but under soft-NMS, which gives scores of its own.
        config: how they are suppressed.
    """
    boxes, scores = candidates["boxes"], candidates["scores"]
    kept, kept_scores = _keep(boxes, scores, config)
    placed = boxes[kept]
    do_looks_agree = "looks" in candidates and not config.soft_nms.enabled
    if len(kept) and (do_looks_agree or config.box_voting.enabled):
        overlaps = box_iou(placed, boxes)
        if config.box_voting.enabled:
            placed = vote(overlaps, boxes, scores, kept, config.box_voting.iou_threshold)
        if do_looks_agree:
            kept_scores = agree(overlaps, candidates, kept, config.nms_iou_threshold)
    labels = torch.ones_like(kept_scores, dtype=torch.int64)
    found = {"boxes": placed, "labels": labels, "scores": kept_scores}
    return _above(found, config.score_threshold) if do_looks_agree else found


def _keep(boxes: Tensor, scores: Tensor, config: RoiConfig) -> tuple[Tensor, Tensor]:
    """Return the places of the boxes that stay and their scores, by falling score."""
    limit = config.detections_per_image
    if config.soft_nms.enabled:
        kept, kept_scores = gaussian_soft_nms(
            boxes,
            scores,
            sigma=config.soft_nms.sigma,
            score_threshold=config.soft_nms.score_threshold,
        )
        return kept[:limit], kept_scores[:limit]
    kept = nms(boxes, scores, config.nms_iou_threshold)[:limit]
    return kept, scores[kept]


def _above(found: Target, threshold: float) -> Target:
    """Return the heads above the threshold, by falling score."""
    order = found["scores"].argsort(descending=True, stable=True)
    return take(found, order[found["scores"][order] > threshold])
