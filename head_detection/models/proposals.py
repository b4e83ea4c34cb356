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
        limit = config.post_nms_top_n_train if is_training else config.post_nms_top_n_test
        lowest = 0.0 if is_training else config.score_threshold
        # They stay where the maps are: a GPU waits for each copy.
        self.cell_anchors = [anchors.to(objectness[0]) for anchors in self.cell_anchors]
        levels = [
            self._best_of_level(*maps, padded_size, kept)
            for maps in zip(objectness, deltas, self.cell_anchors, strict=True)
        ]
        logits, moves, anchors = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        boxes = self.box_coder.decode_single(moves.flatten(0, 1), anchors.flatten(0, 1))
        numbers = [torch.full_like(own[0], k) for k, (own, *_) in enumerate(levels)]
        level_of = torch.cat(numbers).long()
        return [
            self._suppress(clip_boxes_to_image(own, size), scores, lowest, level_of)[:limit]
            for own, scores, size in zip(
                boxes.view_as(anchors), logits.sigmoid(), image_sizes, strict=True
            )
        ]

    def _best_of_level(
        self,
        objectness: Tensor,
        deltas: Tensor,
        cell_anchors: Tensor,
        padded_size: tuple[int, int],
        count: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits ``(B, K)``, deltas ``(B, K, 4)`` and anchors ``(B, K, 4)``."""
        batch, num_anchors, height, width = objectness.shape
        flat = objectness.permute(0, 2, 3, 1).flatten(1)  # in channels_last memory: a view
        logits, places = flat.topk(min(count, flat.shape[1]), dim=1)
        by_anchor = deltas.permute(0, 2, 3, 1).reshape(batch, -1, 4)
        chosen = by_anchor.gather(1, places[:, :, None].expand(-1, -1, 4))
        cells = places // num_anchors
        down, right = (cells // width) * (padded_size[0] // height), cells % width
        right = right * (padded_size[1] // width)
        corners = torch.stack((right, down, right, down), dim=2)
        return logits, chosen, cell_anchors[places % num_anchors] + corners

    def _suppress(
        self, boxes: Tensor, scores: Tensor, lowest_score: float, level_of: Tensor
    ) -> Tensor:
        """Return what is left of the ``(K, 4)`` boxes of a picture, each level on its own.

        Pictures go one by one: torchvision keeps groups apart by moving their boxes, and far from
        the origin, where the last pictures of a batch would be, small boxes lose digits.
        """
        sides = boxes[:, 2:] - boxes[:, :2]
        # What is not a number is neither large enough nor likely.
        is_kept = (sides >= SMALLEST_SIDE).all(dim=1) & (scores >= lowest_score)
        left = is_kept.nonzero().squeeze(1)
        boxes = boxes[left]
        best = batched_nms(boxes, scores[left], level_of[left], self.config.nms_iou_threshold)
        return boxes[best]
