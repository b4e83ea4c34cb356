"""The region proposal network: where a head may be."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import box_area

from head_detection.config import ModelConfig
from head_detection.models.anchors import build_anchor_generator
from head_detection.models.proposals import ProposalSelector
from head_detection.models.transform import Target

IGNORED_SHARE = 0.5
"""A box of which more than this share lies in an ignored region is not sampled."""
BETWEEN = -1
"""torchvision's label for what is neither positive nor negative."""


class FloatRPNHead(RPNHead):
    """torchvision's head, answering in float32 under autocast: the box coder needs the digits."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return objectness ``(B, A, H, W)`` and deltas ``(B, 4A, H, W)`` of each level."""
        objectness, deltas = super().forward(features)
        return [level.float() for level in objectness], [level.float() for level in deltas]


class Upscale(nn.ConvTranspose2d):
    """Features of twice the height and width, in the same channels.

    Source:
        HeadHunter's ``upscale_rpn``: a transposed convolution of kernel 8, stride 2, padding 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=8, stride=2, padding=3)


class HeadProposalNetwork(RegionProposalNetwork):
    """torchvision's losses and sampling, with ignored regions; the proposals are chosen here."""

    def __init__(self, config: ModelConfig, channels: int, num_levels: int) -> None:
        rpn = config.rpn
        anchors = build_anchor_generator(config.anchors, num_levels)
        super().__init__(
            anchors,
            FloatRPNHead(channels, anchors.num_anchors_per_location()[0]),
            rpn.fg_iou_threshold,
            rpn.bg_iou_threshold,
            rpn.samples_per_image,
            rpn.positive_fraction,
            {"training": rpn.pre_nms_top_n_train, "testing": rpn.pre_nms_top_n_test},
            {"training": rpn.post_nms_top_n_train, "testing": rpn.post_nms_top_n_test},
            rpn.nms_iou_threshold,
            score_thresh=rpn.score_threshold,
        )
        self.selector = ProposalSelector(rpn, anchors.cell_anchors, self.box_coder)
        self.upscale = Upscale(channels) if config.upscale else nn.Identity()

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[Target] | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return ``(P, 4)`` proposals a picture in network pixels, and the losses in training.

        Raises:
            ValueError: no targets in training.
        """
        levels = [self.upscale(level) for level in features.values()]
        objectness, deltas = self.head(levels)
        proposals = self.propose(objectness, deltas, images)
        if not self.training:
            return proposals, {}
        if targets is None:
            raise ValueError("targets: expected in training; got None")
        return proposals, self._losses(images, levels, objectness, deltas, targets)

    def propose(
        self, objectness: Sequence[Tensor], deltas: Sequence[Tensor], images: ImageList
    ) -> list[Tensor]:
        """Return ``(P, 4)`` xyxy of each picture in network pixels, by falling objectness.

        Args:
            objectness: ``(B, A, H_i, W_i)`` float32 logits of each level.
            deltas: ``(B, 4A, H_i, W_i)`` float32 of each level.
            images: the batch that they belong to.
        """
        height, width = images.tensors.shape[-2:]
        return self.selector.select(
            objectness, deltas, (height, width), images.image_sizes, is_training=self.training
        )

    def _losses(
        self,
        images: ImageList,
        levels: list[Tensor],
        objectness: list[Tensor],
        deltas: list[Tensor],
        targets: list[Target],
    ) -> dict[str, Tensor]:
        anchors = self.anchor_generator(images, levels)
        labels, matched = self.assign_targets_to_anchors(anchors, targets)
        regression = list(self.box_coder.encode(matched, anchors))
        all_objectness, all_deltas = concat_box_prediction_layers(objectness, deltas)
        loss_objectness, loss_box = self.compute_loss(
            all_objectness, all_deltas, labels, regression
        )
        return {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_box}

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label anchors as torchvision does, and take those in ignored regions out of sampling."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        return leave_out_ignored(labels, anchors, targets), matched

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return torchvision's losses, and 0 where ignored regions leave no anchor to sample."""
        if all(bool((label == BETWEEN).all()) for label in labels):
            return objectness.sum() * 0, pred_bbox_deltas.sum() * 0
        loss_objectness, loss_box_reg = super().compute_loss(
            objectness, pred_bbox_deltas, labels, regression_targets
        )
        return loss_objectness, loss_box_reg


def leave_out_ignored(
    labels: list[Tensor], boxes: list[Tensor], targets: list[Target]
) -> list[Tensor]:
    """Return the labels with ``BETWEEN`` for negatives that lie mostly in an ignored region.

    Boxes that match a true head keep their label.

    Args:
        labels: ``(N,)`` a picture: 0 background, 1 head.
        boxes: ``(N, 4)`` xyxy a picture, in the frame of the targets.
        targets: with ``ignore_boxes`` ``(M, 4)`` where there are any.
    """
    kept = []
    for label, box, target in zip(labels, boxes, targets, strict=True):
        regions = target.get("ignore_boxes")
        if regions is None or not len(regions):
            kept.append(label)
            continue
        ignored = share_inside(box, regions).amax(dim=1) > IGNORED_SHARE
        kept.append(torch.where(ignored & (label == 0), torch.full_like(label, BETWEEN), label))
    return kept


def share_inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return ``(N, M)``: intersection over the area of the box, 0 for a box without area.

    Args:
        boxes: ``(N, 4)`` xyxy.
        regions: ``(M, 4)`` xyxy in the same frame.

    Example:
        >>> share_inside(torch.tensor([[0, 0, 10, 10.0]]), torch.tensor([[5, 0, 50, 50.0]])).item()
        0.5
    """
    top_left = torch.maximum(boxes[:, None, :2], regions[:, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], regions[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    area: Tensor = box_area(boxes).clamp(min=torch.finfo(boxes.dtype).eps)
    return intersection / area[:, None]
