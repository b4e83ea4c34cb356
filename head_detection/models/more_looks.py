"""More looks at a picture, larger or mirrored, whose boxes count together with the first one's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from head_detection.config import LookConfig, ResizeConfig
from head_detection.models.transform import GeneralizedRCNNTransform, Target, scale_boxes

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
        enlargement = resize.enlargement * config.enlargement
        self.transform = GeneralizedRCNNTransform(
            resize.model_copy(update={"enlargement": enlargement})
        )

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
        return [
            {**found, "boxes": scale_boxes(self._unmirrored(found["boxes"], own), own, size)}
            for found, own, size in zip(candidates, own_sizes, sizes, strict=True)
        ]

    def _unmirrored(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        if not self.config.mirrored:
            return boxes
        left, top, right, bottom = boxes.unbind(1)
        return torch.stack([size[1] - right, top, size[1] - left, bottom], dim=1)


def gather(looks: Sequence[list[Target]]) -> list[Target]:
    """Return the candidates of each picture of all looks together.

    Args:
        looks: of each look, ``boxes`` and ``scores`` a picture, all in the same pixels.
    """
    return [
        {key: torch.cat([found[key] for found in same_picture]) for key in same_picture[0]}
        for same_picture in zip(*looks, strict=True)
    ]
