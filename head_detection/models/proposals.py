"""From the region proposal network's maps to the boxes that the second stage looks at."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, clip_boxes_to_image

from head_detection.config import RpnConfig

SMALLEST_SIDE = 1e-3
"""Proposals thinner than this many network pixels are dropped, as torchvision does."""


class ProposalSelector:
    """The likeliest boxes of a batch, without overlaps.

    torchvision decodes every anchor and keeps a few hundred; here the best of each level are
    chosen first and only they are given an anchor and decoded. The proposals are the same.

    Args:
        config: numbers kept and thresholds.
        cell_anchors: ``(A, 4)`` xyxy of each level around the origin, finest level first.
        box_coder: how deltas move an anchor.
    """

    def __init__(
        self, config: RpnConfig, cell_anchors: Sequence[Tensor], box_coder: BoxCoder
    ) -> None:
        self.config, self.cell_anchors, self.box_coder = config, cell_anchors, box_coder

    @torch.no_grad()
    def select(
        self,
        objectness: Sequence[Tensor],
        deltas: Sequence[Tensor],
        padded_size: tuple[int, int],
        image_sizes: Sequence[tuple[int, int]],
        *,
        is_training: bool,
    ) -> list[Tensor]:
        """Return ``(P, 4)`` xyxy of each picture in network pixels, by falling objectness.

        Args:
            objectness: ``(B, A, H_i, W_i)`` float32 logits of each level.
            deltas: ``(B, 4A, H_i, W_i)`` float32 of each level.
            padded_size: ``(height, width)`` of the batch.
            image_sizes: ``(height, width)`` of each picture without its padding.
            is_training: the numbers kept are those of training.
        """
        config = self.config
        kept = config.pre_nms_top_n_train if is_training else config.pre_nms_top_n_test
        levels = [
            self._best_of_level(*maps, padded_size, kept)
            for maps in zip(objectness, deltas, self.cell_anchors, strict=True)
        ]
        scores = torch.cat([logits for logits, _ in levels], dim=1).sigmoid()
        boxes = torch.cat([boxes for _, boxes in levels], dim=1)
        boxes = torch.stack(
            [clip_boxes_to_image(own, size) for own, size in zip(boxes, image_sizes, strict=True)]
        )
        numbers = [torch.full_like(logits[0], k) for k, (logits, _) in enumerate(levels)]
        limit = config.post_nms_top_n_train if is_training else config.post_nms_top_n_test
        likely = scores >= (0.0 if is_training else config.score_threshold)
        return self._suppress(boxes, scores, likely, torch.cat(numbers).long(), limit)

    def _best_of_level(
        self,
        objectness: Tensor,
        deltas: Tensor,
        cell_anchors: Tensor,
        padded_size: tuple[int, int],
        count: int,
    ) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, K)`` and decoded boxes ``(B, K, 4)``."""
        batch, num_anchors, height, width = objectness.shape
        flat = objectness.permute(0, 2, 3, 1).flatten(1)  # in channels_last memory: a view
        logits, places = flat.topk(min(count, flat.shape[1]), dim=1)
        by_anchor = deltas.permute(0, 2, 3, 1).reshape(batch, -1, 4)
        chosen = by_anchor.gather(1, places[:, :, None].expand(-1, -1, 4))
        cells = places // num_anchors
        down, right = (cells // width) * (padded_size[0] // height), cells % width
        right = right * (padded_size[1] // width)
        corners = torch.stack((right, down, right, down), dim=2)
        anchors = cell_anchors.to(flat)[places % num_anchors] + corners
        boxes = self.box_coder.decode_single(chosen.reshape(-1, 4), anchors.reshape(-1, 4))
        return logits, boxes.reshape(batch, -1, 4)

    def _suppress(
        self, boxes: Tensor, scores: Tensor, is_likely: Tensor, level_of: Tensor, limit: int
    ) -> list[Tensor]:
        """Return what is left of ``(B, K, 4)`` boxes, the pictures and levels each on their own."""
        sides = boxes[..., 2:] - boxes[..., :2]
        # What is not a number is neither large enough nor likely.
        is_kept = (sides >= SMALLEST_SIDE).all(dim=2) & is_likely
        image_of, place = is_kept.nonzero(as_tuple=True)
        boxes, scores = boxes[is_kept], scores[is_kept]
        groups = image_of * len(self.cell_anchors) + level_of[place]
        kept = batched_nms(boxes, scores, groups, self.config.nms_iou_threshold)
        return [boxes[kept[image_of[kept] == image]][:limit] for image in range(len(is_kept))]
