"""From pictures to the network's pixels, and the boxes back again."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from head_detection.config import ResizeConfig

Target = dict[str, Tensor]
BOX_KEYS = ("boxes", "ignore_boxes")


class GeneralizedRCNNTransform(nn.Module):
    """Resize, normalise and batch pictures; carry targets along; bring detections back.

    It differs from torchvision's class of this name in that ``never_upsample`` only ever scales
    down, as HeadHunter does, and in that uint8 pictures are taken as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ResizeConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> tuple[ImageList, list[Target] | None]:
        """Return one batch in network pixels.

        Args:
            images: ``(3, H, W)`` each, uint8 in 0..255 or floating in 0..1, RGB.
            targets: per picture ``boxes`` and optionally ``ignore_boxes`` in original pixels, or
                None. They are not changed in place.

        Returns:
            Pictures padded at the right and bottom to one size, with each one's own size, and the
            targets in network pixels.

        Raises:
            ValueError: a picture of another shape.
        """
        resized = [self._resize(self._check(image)) for image in images]
        if targets is not None:
            targets = [
                _scale_target(target, before.shape[-2:], after.shape[-2:])
                for target, before, after in zip(targets, images, resized, strict=True)
            ]
        image_sizes = [(image.shape[-2], image.shape[-1]) for image in resized]
        return ImageList(self._batch(resized), image_sizes), targets

    def postprocess(
        self,
        result: list[Target],
        image_sizes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[Target]:
        """Return the detections with ``boxes`` in original pixels; in training nothing changes."""
        if self.training:
            return result
        return [
            {**found, "boxes": scale_boxes(found["boxes"], before, after)}
            for found, before, after in zip(result, image_sizes, original_image_sizes, strict=True)
        ]

    def scale_factor(self, height: int, width: int) -> float:
        """Return network pixels over original pixels for a picture of this size.

        In training one of ``min_sizes`` is drawn, otherwise the last one counts.
        """
        config = self.config
        sizes = config.min_sizes
        chosen = int(torch.randint(len(sizes), ())) if self.training and len(sizes) > 1 else -1
        factor = sizes[chosen] / min(height, width)
        if config.policy == "never_upsample":
            factor = min(factor, 1.0)
        return min(factor, config.max_size / max(height, width)) * config.enlargement

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of a picture of this size in network pixels."""
        return _scaled(height, width, self.scale_factor(height, width))

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of a picture of this size in network pixels with padding."""
        divisor = self.config.size_divisor
        down, across = (-(-side // divisor) * divisor for side in self.network_size(height, width))
        return down, across

    def enough_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) that a picture of this size may be read at and lose nothing.

        What is smaller than the policy asks for is not scaled up to it, but to ``enlargement``:
        where that is under 1, more pixels are needed than the network gets.
        """
        spared = max(1.0, 1 / self.config.enlargement)
        return _scaled(height, width, self.scale_factor(height, width) * spared)

    def _check(self, image: Tensor) -> Tensor:
        if image.dim() != len("CHW") or image.shape[0] != len("RGB") or 0 in image.shape:
            raise ValueError(f"images: expected shape (3, H, W); got {tuple(image.shape)}")
        return image

    def _resize(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        factor = self.scale_factor(height, width)
        if factor == 1.0:
            return image
        size = list(_scaled(height, width, factor))
        is_smooth = self.config.antialias or min(size) == 1
        if not is_smooth or image.device.type != "cpu":  # bytes are scaled on CPU alone
            image = _as_float(image)
        resized: Tensor = F.interpolate(
            image[None],
            size=size if is_smooth else None,
            scale_factor=None if is_smooth else factor,
            mode="bilinear",
            align_corners=False,
            antialias=self.config.antialias,
        )[0]
        return resized

    def _batch(self, images: list[Tensor]) -> Tensor:
        """Return the normalised pictures on a ground of zeros, in channels_last memory."""
        divisor = self.config.size_divisor
        height, width = (
            -(-max(image.shape[side] for image in images) // divisor) * divisor for side in (1, 2)
        )
        batch = torch.empty(
            (len(images), 3, height, width),
            device=images[0].device,
            memory_format=torch.channels_last,
        )
        for image, place in zip(images, batch, strict=True):
            _, bottom, right = image.shape
            place[:, bottom:].zero_()
            place[:, :, right:].zero_()
            torch.div(_as_float(image) - self.mean, self.std, out=place[:, :bottom, :right])
        return batch


def _scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    # A line of pixels keeps at least one of them.
    return max(1, int(height * factor)), max(1, int(width * factor))


def _as_float(image: Tensor) -> Tensor:
    return image.float() / 255 if image.dtype == torch.uint8 else image


def scale_boxes(boxes: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """Return ``(N, 4)`` xyxy boxes of a picture of size ``before`` for its size ``after``.

    Sizes are ``(height, width)``. Sizes are whole pixels, so the two axes have their own factors.

    Example:
        >>> scale_boxes(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), (10, 10), (20, 30)).tolist()
        [[3.0, 4.0, 9.0, 8.0]]
    """
    vertical, horizontal = after[0] / before[0], after[1] / before[1]
    # Plain numbers, no tensor of four: a GPU would be waited for to copy it there.
    scaled = torch.stack((boxes[:, 0::2] * horizontal, boxes[:, 1::2] * vertical), dim=2)
    return scaled.flatten(1)


def _scale_target(target: Target, before: torch.Size, after: torch.Size) -> Target:
    sizes = (before[0], before[1]), (after[0], after[1])
    scaled = {key: scale_boxes(target[key], *sizes) for key in BOX_KEYS if key in target}
    return {**target, **scaled}
