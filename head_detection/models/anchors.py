"""The boxes that the region proposal network starts from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from head_detection.config import AnchorConfig
from head_detection.errors import ConfigError


class AnchorPreset(NamedTuple):
    """Sizes in network pixels, small to large, and ratios of height over width."""

    sizes: tuple[float, ...]
    ratios: tuple[float, ...]


PRESETS = {
    "scut": AnchorPreset((18, 36, 72, 128, 208, 320, 512, 768), (0.5, 1.0, 1.5)),
    "crowdhuman": AnchorPreset((10, 48, 128, 192, 256, 320, 512), (0.5, 1.0, 2.0)),
    "combined": AnchorPreset((12, 32, 64, 112, 196, 256, 384, 512), (0.5, 1.0, 1.5)),
    "crohd": AnchorPreset((12, 18, 24, 32, 48, 64, 128), (0.5, 1.0, 1.5)),
    "coco": AnchorPreset((32, 64, 128, 256, 512), (0.5, 1.0, 2.0)),
}
"""HeadHunter's sets (Sundararaman et al., CVPR 2021, its ``data/anchors.py``) and torchvision's."""


class FloatAnchorGenerator(AnchorGenerator):
    """torchvision's generator, in float32 whatever the features are: bfloat16 misplaces anchors."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return ``(A, 4)`` float32 xyxy in network pixels for each picture."""
        # The generator reads shape, device and dtype of the maps, never their values.
        stand_ins = [
            level.new_empty((), dtype=torch.float32).expand(level.shape) for level in feature_maps
        ]
        anchors: list[Tensor] = super().forward(image_list, stand_ins)
        return anchors


def anchor_sizes(config: AnchorConfig, num_levels: int) -> tuple[tuple[float, ...], ...]:
    """Return the sizes of each pyramid level in network pixels, finest level first.

    HeadHunter lists seven or eight sizes for four levels, of which the torchvision of its time
    silently used the first four: that is ``legacy``. Its paper means two a level: ``paper``.

    Raises:
        ConfigError: the config has sizes for fewer levels, or levels with unequal numbers of sizes.

    Example:
        >>> anchor_sizes(AnchorConfig(preset="combined", layout="paper"), 4)
        ((12, 32), (64, 112), (196, 256), (384, 512))
    """
    if config.sizes is not None:
        sizes = config.sizes
        if len(sizes) != num_levels or len({len(level) for level in sizes}) != 1:
            raise ConfigError(
                f"network.anchors.sizes: expected {num_levels} levels with equally many sizes; "
                f"got {[list(level) for level in sizes]}"
            )
        return sizes
    per_level = 1 if config.layout == "legacy" else 2
    preset = PRESETS[config.preset].sizes
    if len(preset) < per_level * num_levels:
        raise ConfigError(
            f"network.anchors: expected {per_level * num_levels} sizes for layout {config.layout} "
            f"on {num_levels} levels; preset {config.preset} has {len(preset)}: "
            "give network.anchors.sizes"
        )
    return tuple(preset[per_level * level : per_level * (level + 1)] for level in range(num_levels))


def build_anchor_generator(config: AnchorConfig, num_levels: int) -> FloatAnchorGenerator:
    """Return the generator for a pyramid of so many levels.

    Raises:
        ConfigError: as ``anchor_sizes``.
    """
    sizes = anchor_sizes(config, num_levels)
    ratios = config.ratios or PRESETS[config.preset].ratios
    return FloatAnchorGenerator(sizes, (ratios,) * num_levels)


def median_anchor_sizes(boxes: Tensor, num_levels: int) -> tuple[float, ...]:
    """Return one anchor size a pyramid level: the medians of equal shares of the heads.

    Args:
        boxes: ``(N, 4)`` xyxy in network pixels (after the resize that training uses),
            N >= num_levels.
        num_levels: pyramid levels, finest first.

    Returns:
        Square roots of area in network pixels, rising.

    Raises:
        ValueError: fewer boxes than levels, or a box without area.

    Source:
        Sundararaman et al., CVPR 2021, section 3.1; they cluster with k-means, this takes
        quantiles.

    Example:
        >>> median_anchor_sizes(torch.tensor([[0, 0, 10, 10], [0, 0, 30, 30.0]]), 2)
        (10.0, 30.0)
    """
    shares = torch.tensor_split(_sorted_sizes(boxes, num_levels), num_levels)
    return tuple(round(float(share.quantile(0.5)), 2) for share in shares)


def kmeans_anchor_sizes(boxes: Tensor, num_levels: int, num_rounds: int = 100) -> tuple[float, ...]:
    """Return one anchor size a pyramid level: k-means of log size, small to large.

    Args:
        boxes: ``(N, 4)`` xyxy in network pixels, N >= num_levels.
        num_levels: clusters.
        num_rounds: of Lloyd's algorithm at most; it starts from the medians, so it needs no seed.

    Returns:
        Square roots of area in network pixels, rising.

    Raises:
        ValueError: fewer boxes than levels, or a box without area.

    Example:
        >>> kmeans_anchor_sizes(torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 40, 40.0]]), 2)
        (10.0, 40.0)
    """
    logs = _sorted_sizes(boxes, num_levels).log()
    centres = torch.tensor(median_anchor_sizes(boxes, num_levels)).log()
    for _ in range(num_rounds):
        nearest = (logs[:, None] - centres).abs().argmin(dim=1)
        moved = torch.stack(
            [
                logs[nearest == k].mean() if bool((nearest == k).any()) else centres[k]
                for k in range(num_levels)
            ]
        )
        if torch.equal(moved, centres):
            break
        centres = moved
    return tuple(round(float(size), 2) for size in centres.exp().sort().values)


def median_ratio(boxes: Tensor) -> float:
    """Return the median height over width of ``(N, 4)`` xyxy boxes, N >= 1.

    Example:
        >>> median_ratio(torch.tensor([[0, 0, 10, 12.0]]))
        1.2
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    return round(float((height / width).quantile(0.5)), 2)


def _sorted_sizes(boxes: Tensor, minimum: int) -> Tensor:
    if len(boxes) < minimum:
        raise ValueError(f"boxes: expected at least {minimum}, one a level; got {len(boxes)}")
    sides = boxes[:, 2:] - boxes[:, :2]
    if bool((sides <= 0).any()):
        raise ValueError("boxes: expected boxes with area; got one of zero or negative size")
    sizes: Tensor = sides.prod(dim=1).sqrt().double().sort().values
    return sizes


def levels_of_sizes(sizes: Sequence[float], num_levels: int) -> tuple[tuple[float, ...], ...]:
    """Deal rising sizes out to levels in equal runs: the ``network.anchors.sizes`` of a config.

    Raises:
        ValueError: the number of sizes is no multiple of the number of levels.

    Example:
        >>> levels_of_sizes((8, 16, 32, 64), 2)
        ((8, 16), (32, 64))
    """
    per_level, rest = divmod(len(sizes), num_levels)
    if rest or not per_level:
        raise ValueError(f"sizes: expected a multiple of {num_levels}; got {len(sizes)}")
    return tuple(tuple(sizes[per_level * k : per_level * (k + 1)]) for k in range(num_levels))
