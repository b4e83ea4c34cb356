"""The second stage: proposals become heads with scores."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import (
    clip_boxes_to_image,
    complete_box_iou_loss,
    generalized_box_iou_loss,
)

from head_detection.config import ModelConfig
from head_detection.models.roi_align import PyramidRoIAlign
from head_detection.models.rpn import Upscale, leave_out_ignored
from head_detection.models.suppression import suppress
from head_detection.models.transform import Target

NUM_CLASSES = 2
"""Background and head."""
SMALLEST_SIDE = 1e-2
"""Boxes thinner than this many network pixels are dropped, as torchvision does."""


class HeadRoIHeads(RoIHeads):
    """torchvision's RoIHeads for one class: ignored regions, OHEM, IoU losses, soft-NMS.

    Args:
        config: of the whole model.
        channels: of the features.
        strides: of the feature maps, finest first; each is called by its stride.
    """

    def __init__(self, config: ModelConfig, channels: int, strides: Sequence[int]) -> None:
        roi = config.roi
        super().__init__(
            PyramidRoIAlign(
                [stride / (2 if config.upscale else 1) for stride in strides],
                roi.pool_size,
                roi.sampling_ratio,
                roi.canonical_scale,
                names=[str(stride) for stride in strides],
            ),
            TwoMLPHead(channels * roi.pool_size**2, roi.box_head_width),
            FastRCNNPredictor(roi.box_head_width, NUM_CLASSES),
            roi.fg_iou_threshold,
            roi.bg_iou_threshold,
            roi.samples_per_image,
            roi.positive_fraction,
            None,
            roi.score_threshold,
            roi.nms_iou_threshold,
            roi.detections_per_image,
        )
        self.config = roi
        self.upscale = Upscale(channels) if config.upscale else nn.Identity()

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label proposals as torchvision does; those in ignored regions are not sampled."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        return matched, leave_out_ignored(labels, proposals, self._targets)

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[Target], dict[str, Tensor]]:
        """Return detections in network pixels, or the losses in training.

        Args:
            features: ``(B, C, H_i, W_i)`` by level.
            proposals: ``(P, 4)`` xyxy a picture, in network pixels.
            image_shapes: ``(height, width)`` of each picture in network pixels.
            targets: boxes, labels and ignore_boxes in network pixels, in training.
        """
        levels = [self.upscale(values).float() for values in features.values()]
        if not self.training:
            logits, deltas = self.score(self.pool(levels, proposals, image_shapes))
            return self.suppress(self.candidates(logits, deltas, proposals, image_shapes)), {}
        if targets is None:
            raise ValueError("targets: expected in training; got None")
        self._targets = targets
        proposals, _, sampled, regression = self.select_training_samples(proposals, targets)
        logits, deltas = self.score(self.pool(levels, proposals, image_shapes))
        return [], self._losses(logits, deltas, proposals, sampled, regression)

    def pool(
        self,
        levels: Sequence[Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Return ``(N, C, P, P)`` for the N proposals of all pictures together.

        Args:
            levels: ``(B, C, H_i, W_i)`` float32, finest first: RoIAlign has no bfloat16 on CPU.
            proposals: ``(P, 4)`` xyxy a picture, in network pixels.
            image_shapes: ``(height, width)`` of each picture in network pixels.
        """
        maps = dict(zip(self.box_roi_pool.featmap_names, levels, strict=True))
        pooled: Tensor = self.box_roi_pool(maps, proposals, image_shapes)
        return pooled

    def score(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)``, float32 for the box coder's digits."""
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits.float(), deltas.float()

    def candidates(
        self,
        logits: Tensor,
        deltas: Tensor,
        proposals: list[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> list[Target]:
        """Return what may be a head: ``boxes`` in network pixels and ``scores`` a picture."""
        counts = [len(boxes) for boxes in proposals]
        head_deltas = deltas.reshape(-1, NUM_CLASSES, 4)[:, 1]
        all_boxes = self.box_coder.decode_single(head_deltas, torch.cat(proposals))
        all_scores = F.softmax(logits, dim=-1)[:, 1]
        return [
            self._likely(clip_boxes_to_image(boxes, shape), scores)
            for boxes, scores, shape in zip(
                all_boxes.split(counts), all_scores.split(counts), image_shapes, strict=True
            )
        ]

    def suppress(self, candidates: list[Target]) -> list[Target]:
        """Return one box a head: ``boxes``, ``labels`` and ``scores`` a picture, scores falling.

        Args:
            candidates: of each picture, as ``suppression.suppress`` takes them.
        """
        return [suppress(found, self.config) for found in candidates]

    def _losses(
        self,
        logits: Tensor,
        deltas: Tensor,
        proposals: list[Tensor],
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> dict[str, Tensor]:
        all_labels, all_targets = torch.cat(labels), torch.cat(regression_targets)
        positive = (all_labels > 0).nonzero().squeeze(1)
        deltas = deltas.reshape(len(deltas), NUM_CLASSES, 4)[positive, all_labels[positive]]
        boxes = torch.cat(proposals)[positive]
        box_loss = self._box_loss(deltas, all_targets[positive], boxes) / max(len(all_labels), 1)
        return {
            "loss_classifier": hardest_mean_loss(logits, all_labels, self.config.ohem),
            "loss_box_reg": self.config.box_loss_weight * box_loss,
        }

    def _box_loss(self, deltas: Tensor, targets: Tensor, boxes: Tensor) -> Tensor:
        if self.config.box_loss == "smooth_l1":
            return F.smooth_l1_loss(
                deltas, targets, beta=self.config.box_loss_beta, reduction="sum"
            )
        predicted = self.box_coder.decode_single(deltas, boxes)
        truth = self.box_coder.decode_single(targets, boxes)
        overlap_loss = (
            generalized_box_iou_loss if self.config.box_loss == "giou" else complete_box_iou_loss
        )
        summed: Tensor = overlap_loss(predicted, truth, reduction="sum")
        return summed

    def _likely(self, boxes: Tensor, scores: Tensor) -> Target:
        is_large = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(dim=1)
        likely = ((scores > self.config.score_threshold) & is_large).nonzero().squeeze(1)
        return {"boxes": boxes[likely], "scores": scores[likely]}


def hardest_mean_loss(logits: Tensor, labels: Tensor, keep: int) -> Tensor:
    """Return the mean cross-entropy of the ``keep`` hardest RoIs of the batch.

    Args:
        logits: ``(N, 2)``.
        labels: ``(N,)``.
        keep: how many; 0 means all. HeadHunter meant 500 and kept ``min(N, N * 500)``, all.

    Returns:
        A scalar; 0 where there are no RoIs.

    Source:
        Shrivastava et al., Training Region-based Object Detectors with Online Hard Example
        Mining, CVPR 2016.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 0.0]])
        >>> round(hardest_mean_loss(logits, torch.tensor([0, 0, 1]), 2).item(), 4)
        0.6931
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    if not len(losses):
        return logits.sum()
    if keep:
        losses = losses.topk(min(keep, len(losses))).values
    return losses.mean()
