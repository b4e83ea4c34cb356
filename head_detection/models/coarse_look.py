"""A second look at the picture made small, for heads larger than the network was taught."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_area, box_iou, clip_boxes_to_image

from head_detection.config import CoarseLookConfig
from head_detection.models.candidates import REFINEMENT, concatenate, pictures_with, take
from head_detection.models.transform import Target

MARGIN = 1.25
"""Around the size that divides them both looks answer: each measures a head a little otherwise."""

HINT_SIZE = 0.5
HINT_SCORE = 0.1
"""The full look takes part of a head that is too large for it for a head, smaller and less likely:
one of this share of the size from which on heads are large."""


class CoarseLook:
    """Shrinks a batch, and joins the heads found in it with those of the full one.

    Each look answers for heads of its sizes: the coarse one for large ones, of which the full one
    finds parts.

    Args:
        config: how much smaller, and from what size on heads are large.
        size_divisor: sides of a batch are multiples of it.
        nms_iou_threshold: of heads that both looks found.
        limit: heads a picture at most.
    """

    def __init__(
        self, config: CoarseLookConfig, size_divisor: int, nms_iou_threshold: float, limit: int
    ) -> None:
        self.config, self.size_divisor = config, size_divisor
        self.nms_iou_threshold, self.limit = nms_iou_threshold, limit

    def wanted(self, images: ImageList, candidates: list[Target]) -> list[int]:
        """Return which pictures of the batch can hold a head too large for the full look.

        Args:
            images: the full look's batch.
            candidates: ``boxes`` ``(N, 4)`` xyxy and ``scores`` ``(N,)`` that it found.
        """
        height, width = images.tensors.shape[-2:]
        if max(height, width) < self.config.smallest_picture:
            return []
        least = (self.config.smallest_head * HINT_SIZE) ** 2
        return pictures_with(
            [
                (box_area(found["boxes"]) >= least) & (found["scores"] >= HINT_SCORE)
                for found in candidates
            ]
        )

    def shrink(self, images: ImageList, wanted: list[int]) -> ImageList:
        """Return the wanted pictures with sides ``factor`` times smaller, padded as batches are."""
        factor, divisor = self.config.factor, self.size_divisor
        is_all = len(wanted) == len(images.image_sizes)
        tensors = images.tensors if is_all else images.tensors[wanted]
        small = F.avg_pool2d(tensors, factor, ceil_mode=True)
        down, right = (-side % divisor for side in small.shape[-2:])
        padded = F.pad(small, (0, right, 0, down)).contiguous(memory_format=torch.channels_last)
        sizes = [tuple(-(-side // factor) for side in images.image_sizes[at]) for at in wanted]
        return ImageList(padded, sizes)

    def leave_small(self, proposals: list[Tensor]) -> list[Tensor]:
        """Return the proposals that may become heads of this look: the second stage is for few.

        Args:
            proposals: ``(P, 4)`` xyxy a picture, in pixels of the shrunken batch.
        """
        least = self.config.smallest_head / (MARGIN * REFINEMENT * self.config.factor)
        return [boxes[box_area(boxes) >= least**2] for boxes in proposals]

    def join(
        self, full: list[Target], coarse: list[Target], image_sizes: list[tuple[int, int]]
    ) -> list[Target]:
        """Return the heads of both looks, by falling score.

        Args:
            full: ``boxes`` ``(N, 4)`` xyxy, ``scores`` and ``labels`` a picture, network pixels.
            coarse: likewise, in pixels of the shrunken batch.
            image_sizes: ``(height, width)`` of each picture in network pixels.
        """
        return [
            self._join(own, self._enlarge(other, size))
            for own, other, size in zip(full, coarse, image_sizes, strict=True)
        ]

    def _enlarge(self, found: Target, image_size: tuple[int, int]) -> Target:
        boxes = clip_boxes_to_image(found["boxes"] * self.config.factor, image_size)
        return {**found, "boxes": boxes}

    def _join(self, full: Target, coarse: Target) -> Target:
        least, most = self.config.smallest_head / MARGIN, self.config.smallest_head * MARGIN
        full = take(full, box_area(full["boxes"]) < most**2)
        coarse = take(coarse, box_area(coarse["boxes"]) >= least**2)
        # Each look has suppressed its own heads: neighbours in a crowd may overlap more by now,
        # where boxes vote, and are heads all the same.
        is_same = box_iou(full["boxes"], coarse["boxes"]) > self.nms_iou_threshold
        is_coarse_surer = coarse["scores"] > full["scores"][:, None]
        lost = (is_same & is_coarse_surer).any(dim=1), (is_same & ~is_coarse_surer).any(dim=0)
        joined = concatenate([take(full, ~lost[0]), take(coarse, ~lost[1])])
        order = joined["scores"].argsort(descending=True, stable=True)
        return take(joined, order[: self.limit])
