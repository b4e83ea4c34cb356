"""Transforming pictures to network pixels, and boxes back to original pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from head_detection.config import NetworkConfig, ResizeConfig
from head_detection.devices import constant
from head_detection.models.targets import Targets

LARGEST_BYTE = 255
Colours = tuple[float, float, float]
"""Red, green, blue."""


@dataclass(frozen=True)
class Resize:
    """How pictures are resized.

    Args:
        policy: ``never_upsample`` only scales down, as HeadHunter does; ``fit`` scales to
            ``min_size``, as torchvision does.
        min_size: short side in network pixels.
        max_size: largest long side in network pixels.
        enlargement: factor on the size that results from all the above.
        antialias: smooth before scaling down.
    """

    policy: Literal["never_upsample", "fit"]
    min_size: int
    max_size: int
    enlargement: float = 1.0
    antialias: bool = True

    def factor(self, height: int, width: int, min_size: int | None = None) -> float:
        """Return network pixels over original pixels for a picture of this size.

        Args:
            height: in original pixels.
            width: in original pixels.
            min_size: replaces the object's own if given.
        """
        factor = (self.min_size if min_size is None else min_size) / min(height, width)
        if self.policy == "never_upsample":
            factor = min(factor, 1.0)
        return min(factor, self.max_size / max(height, width)) * self.enlargement


class GeneralizedRCNNTransform(nn.Module):
    """Resizes, normalises and batches pictures, and scales their targets.

    It differs from torchvision's class of this name: ``never_upsample`` only scales down, uint8
    pictures stay uint8 until one pass converts them to the network's type, and consecutive pictures
    of equal size are processed together.

    Args:
        resize: how pictures are resized.
        mean: mean of each colour, in 0..1.
        std: standard deviation of each colour, in 0..1.
        size_divisor: sides of a batch are padded to multiples of it.
        min_sizes: short sides in training, one chosen at random per picture; empty: ``resize``'s.
    """

    def __init__(
        self,
        resize: Resize,
        mean: Colours,
        std: Colours,
        size_divisor: int,
        min_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.resize, self.mean, self.std = resize, mean, std
        self.size_divisor, self.min_sizes = size_divisor, min_sizes

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Targets | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        mirrored: bool = False,
    ) -> tuple[ImageList, Targets | None]:
        """Return one batch in network pixels.

        Args:
            images: ``(3, H, W)`` each, uint8 in 0..255 or floating in 0..1, RGB.
            targets: in original pixels, or None. They are not changed in place.
            dtype: of the batch.
            mirrored: flip the batch horizontally, but not the targets.

        Returns:
            Pictures padded at the right and bottom to one size, with each one's own size, and the
            targets in network pixels.

        Raises:
            ValueError: no picture, or one of another shape.
        """
        if not images:
            raise ValueError("images: expected at least one picture; got none")
        keys = [self._key(_checked(image)) for image in images]
        resized, start = [], 0
        for (_, factor, _), group in groupby(keys):
            count = len(list(group))
            part = self._resize(_stack(images[start : start + count]), factor)
            resized.append(part.flip(3) if mirrored else part)
            start += count
        sizes = [(part.shape[2], part.shape[3]) for part in resized for _ in range(len(part))]
        batch = self._batch(resized, [image.is_floating_point() for image in images], dtype)
        if targets is not None:
            targets = targets.scaled(self.factors(sizes, images, batch.device))
        return ImageList(batch, sizes), targets

    @staticmethod
    def factors(
        sizes: Sequence[tuple[int, int]],
        images: Sequence[Annotated[Tensor, "3 _ _"]],
        device: torch.device,
    ) -> Annotated[Tensor, "b 2"]:
        """Return ``(B, 2)`` float32: network over original pixels, horizontal and vertical.

        Sizes are whole pixels, so the two factors may differ.

        Args:
            sizes: ``(height, width)`` of each picture in network pixels.
            images: ``(3, H, W)`` each, in original pixels.
            device: of the result.
        """
        pairs = zip(sizes, images, strict=True)
        factors = tuple(
            (width / image.shape[2], height / image.shape[1]) for (height, width), image in pairs
        )
        return constant(factors, device)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of a picture of this size in network pixels."""
        return scaled_size(height, width, self.resize.factor(height, width))

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of a picture of this size in network pixels with padding."""
        down, across = self.network_size(height, width)
        return self._padded(down), self._padded(across)

    def enough_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest (height, width) to decode a picture of this size at without loss.

        A smaller picture is scaled by ``enlargement`` rather than up to the policy's size. If that
        is under 1, the decoded picture needs more pixels than the network gets.
        """
        spared = max(1.0, 1 / self.resize.enlargement)
        return scaled_size(height, width, self.resize.factor(height, width) * spared)

    def _padded(self, side: int) -> int:
        return -(-side // self.size_divisor) * self.size_divisor

    def _key(self, image: Tensor) -> tuple[torch.Size, float, torch.dtype]:
        """Return the key that pictures must share to be scaled together."""
        chosen = None
        if self.training and self.min_sizes:
            chosen = self.min_sizes[int(torch.randint(len(self.min_sizes), ()))]
        height, width = image.shape[-2:]
        return image.shape, self.resize.factor(height, width, chosen), image.dtype

    def _resize(self, images: Tensor, factor: float) -> Tensor:
        """Return scaled ``(N, 3, H, W)`` pictures; uint8 stays, or becomes float up to 255."""
        if factor == 1.0:
            return images
        height, width = images.shape[-2:]
        size = scaled_size(height, width, factor)
        is_smooth = self.resize.antialias or min(size) == 1
        if not is_smooth or images.device.type != "cpu":  # only the CPU can scale uint8
            images = images.float()
        resized: Tensor = F.interpolate(
            images,
            size=size if is_smooth else None,
            scale_factor=None if is_smooth else factor,
            mode="bilinear",
            align_corners=False,
            antialias=self.resize.antialias,
        )
        return resized

    def _batch(
        self, parts: Sequence[Tensor], are_floating: Sequence[bool], dtype: torch.dtype
    ) -> Tensor:
        """Return the normalised pictures padded with zeros, in channels_last memory.

        Args:
            parts: ``(N, 3, H, W)`` each, pictures of equal size.
            are_floating: for each picture, whether its values are in 0..1, not 0..255.
            dtype: of the batch.
        """
        height, width = (self._padded(max(part.shape[side] for part in parts)) for side in (2, 3))
        batch = torch.empty(
            (len(are_floating), 3, height, width),
            dtype=dtype,
            device=parts[0].device,
            memory_format=torch.channels_last,
        )
        start = 0
        for part in parts:
            count, _, bottom, right = part.shape
            slots = batch[start : start + count]
            if bottom < height:
                slots[:, :, bottom:].zero_()
            if right < width:
                slots[:, :, :, right:].zero_()
            scale, shift = self._normalisation(part.device, is_floating=are_floating[start])
            _multiply_add(part, scale, shift, slots[:, :, :bottom, :right])
            start += count
        return batch

    def _normalisation(self, device: torch.device, *, is_floating: bool) -> tuple[Tensor, Tensor]:
        """Return the factor and the offset of pixels, ``(3, 1, 1)`` each."""
        white = 1 if is_floating else LARGEST_BYTE
        scale = tuple(((1 / (white * std),),) for std in self.std)
        shift = tuple(((-mean / std,),) for mean, std in zip(self.mean, self.std, strict=True))
        return constant(scale, device), constant(shift, device)


def _multiply_add(pictures: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    """Write ``pictures * scale + shift``, with one scale and shift per colour, to part of a batch.

    On a CPU, if memory is channels last, a line of pixels is handled as one row of numbers instead
    of three at a time.

    Args:
        pictures: ``(N, 3, H, W)``.
        scale: ``(3, 1, 1)``.
        shift: ``(3, 1, 1)``.
        out: ``(N, 3, H, W)``, channels last.
    """
    pixels = pictures.permute(0, 2, 3, 1)
    if out.device.type == "cpu" and pixels.is_contiguous():
        count, height, width = pixels.shape[:3]
        pictures = pixels.view(count, height, -1)
        out = out.permute(0, 2, 3, 1).view(count, height, -1)
        scale, shift = scale.flatten().repeat(width), shift.flatten().repeat(width)
        if out.dtype == torch.float32:  # converting uint8 in a separate step is faster
            pictures = out.copy_(pictures)
    torch.addcmul(shift, pictures, scale, out=out)


def build_resize(config: ResizeConfig) -> Resize:
    """Return the resize that the config describes."""
    return Resize(
        config.policy, config.min_size, config.max_size, config.enlargement, config.antialias
    )


def build_transform(
    network: NetworkConfig, resize: Resize, min_sizes: tuple[int, ...] = ()
) -> GeneralizedRCNNTransform:
    """Return the transform to this network's pixels.

    Args:
        network: gives mean, std and size divisor.
        resize: how pictures are resized.
        min_sizes: short sides in training.
    """
    return GeneralizedRCNNTransform(
        resize, network.mean, network.std, network.size_divisor, min_sizes
    )


def scale_factor(config: ResizeConfig, height: int, width: int) -> float:
    """Return network pixels over original pixels for a picture of this size.

    Example:
        >>> scale_factor(ResizeConfig(min_size=300, max_size=400), 600, 800)
        0.5
    """
    return build_resize(config).factor(height, width)


def scaled_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """Return the (height, width) of a scaled picture in whole pixels, each at least 1.

    Example:
        >>> scaled_size(1, 70, 0.5)
        (1, 35)
    """
    return max(1, int(height * factor)), max(1, int(width * factor))


def _checked(image: Tensor) -> Tensor:
    if image.dim() != len("CHW") or image.shape[0] != len("RGB") or 0 in image.shape:
        raise ValueError(f"images: expected shape (3, H, W); got {tuple(image.shape)}")
    return image


def _stack(images: Sequence[Tensor]) -> Tensor:
    return images[0][None] if len(images) == 1 else torch.stack(list(images))
