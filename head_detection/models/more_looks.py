"""More looks at a picture, larger or mirrored, whose boxes count together with the first one's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_area

from head_detection.config import LookConfig, ResizeConfig
from head_detection.models.candidates import REFINEMENT, pictures_with, take
from head_detection.models.transform import GeneralizedRCNNTransform, Target, scale_boxes

ANY_HEAD = float("inf")
"""Size of the largest heads of a look that answers for all."""

LIKELY = 0.3
"""Score from which a small head of the first look is reason enough to look again."""

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
        self.largest_head = ANY_HEAD if config.largest_head is None else config.largest_head
        enlargement = resize.enlargement * config.enlargement
        self.transform = GeneralizedRCNNTransform(
            resize.model_copy(update={"enlargement": enlargement})
        )

    def wanted(self, candidates: Sequence[Target]) -> list[int]:
        """Return which pictures are looked at again.

        Args:
            candidates: ``boxes`` ``(N, 4)`` xyxy and ``scores`` ``(N,)`` of each first look.
        """
        if self.largest_head == ANY_HEAD:
            return list(range(len(candidates)))
        most = (self.largest_head / 2) ** 2
        return pictures_with(
            [
                (box_area(found["boxes"]) < most) & (found["scores"] >= LIKELY)
                for found in candidates
            ]
        )

    def leave_large(self, proposals: list[Tensor]) -> list[Tensor]:
        """Return the proposals that may become heads of this look.

        Args:
            proposals: ``(P, 4)`` xyxy a picture, in pixels of this look.
        """
        if self.largest_head == ANY_HEAD:
            return proposals
        most = self.largest_head * self.config.enlargement * REFINEMENT
        return [boxes[box_area(boxes) <= most**2] for boxes in proposals]

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
        if self.largest_head == ANY_HEAD:
            return placed
        most = self.largest_head**2
        return [take(found, box_area(found["boxes"]) <= most) for found in placed]

    def _unmirrored(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        if not self.config.mirrored:
            return boxes
        left, top, right, bottom = boxes.unbind(1)
        return torch.stack([size[1] - right, top, size[1] - left, bottom], dim=1)
