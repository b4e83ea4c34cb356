"""More looks at a picture, larger or mirrored, whose boxes count together with the first one's."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from head_detection.config import LookConfig, ResizeConfig
from head_detection.models.candidates import ALL_HEADS, REFINEMENT, HeadSizes, pictures_with, take
from head_detection.models.transform import GeneralizedRCNNTransform, Target, scale_boxes

LIKELY = 0.3
"""Score from which a head of the first look is reason enough to look again."""
SURELY = 2.0
"""A head so many times smaller than the largest, or larger than the smallest, is such a reason."""

Sizes = Sequence[tuple[int, int]]
"""``(height, width)`` of each picture."""


class Look(nn.Module):
    """How a picture is looked at once more, and where what was found lies in the first look.

    Args:
        config: what is different.
        resize: of the first look.
    """

    def __init__(self, config: LookConfig, resize: ResizeConfig) -> None:
        super().__init__()
        self.config = config
        self.sizes = HeadSizes(config.smallest_head or 0.0, config.largest_head or math.inf)
        enlargement = resize.enlargement * config.enlargement
        self.transform = GeneralizedRCNNTransform(
            resize.model_copy(update={"enlargement": enlargement})
        )

    def wanted(self, candidates: Sequence[Target]) -> list[int]:
        """Return which pictures are looked at again.

        Args:
            candidates: ``boxes`` ``(N, 4)`` xyxy and ``scores`` ``(N,)`` of each first look.
        """
        if self.sizes == ALL_HEADS:
            return list(range(len(candidates)))
        return pictures_with(
            [
                self.sizes.hold(found["boxes"], slack=1 / SURELY) & (found["scores"] >= LIKELY)
                for found in candidates
            ]
        )

    def leave_others(self, proposals: list[Tensor]) -> list[Tensor]:
        """Return the proposals that may become heads of this look.

        Args:
            proposals: ``(P, 4)`` xyxy a picture, in pixels of this look.
        """
        if self.sizes == ALL_HEADS:  # a GPU would be waited for
            return proposals
        scale = self.config.enlargement
        return [boxes[self.sizes.hold(boxes, scale=scale, slack=REFINEMENT)] for boxes in proposals]

    def prepare(self, images: list[Tensor]) -> ImageList:
        """Return the batch to look at of ``(3, H, W)`` pictures, uint8 or floating in 0..1."""
        if self.config.mirrored:
            images = [image.flip(-1) for image in images]
        batch: ImageList = self.transform(images)[0]
        return batch

    def place(self, candidates: list[Target], own_sizes: Sizes, sizes: Sizes) -> list[Target]:
        """Return the candidates in pixels of the first look.

        Args:
            candidates: ``boxes`` ``(N, 4)`` xyxy a picture, in pixels of this look.
            own_sizes: of the pictures in this look.
            sizes: of the pictures in the first look.
        """
        placed = [
            {**found, "boxes": scale_boxes(self._unmirrored(found["boxes"], own), own, size)}
            for found, own, size in zip(candidates, own_sizes, sizes, strict=True)
        ]
        if self.sizes == ALL_HEADS:
            return placed
        return [take(found, self.sizes.hold(found["boxes"])) for found in placed]

    def _unmirrored(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        if not self.config.mirrored:
            return boxes
        left, top, right, bottom = boxes.unbind(1)
        return torch.stack([size[1] - right, top, size[1] - left, bottom], dim=1)
