"""A second look at the picture made small, for heads larger than the network was taught."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_area, box_iou, clip_boxes_to_image

from head_detection.config import CoarseLookConfig
from head_detection.models.candidates import REFINEMENT, concatenate, take
from head_detection.models.transform import Target

MARGIN = 1.25
"""Around the size that divides them both looks answer: each measures a head a little otherwise."""


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

    def is_wanted(self, images: ImageList) -> bool:
        """Tell whether a picture of this batch can hold a head too large for the full look."""
        height, width = images.tensors.shape[-2:]
        return self.config.enabled and max(height, width) >= self.config.smallest_picture

    def shrink(self, images: ImageList) -> ImageList:
        """Return the batch with sides ``factor`` times smaller, padded as batches are."""
        factor, divisor = self.config.factor, self.size_divisor
        small = F.avg_pool2d(images.tensors, factor, ceil_mode=True)
        down, right = (-side % divisor for side in small.shape[-2:])
        padded = F.pad(small, (0, right, 0, down)).contiguous(memory_format=torch.channels_last)
        sizes = [
            (-(-height // factor), -(-width // factor)) for height, width in images.image_sizes
        ]
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
