"""The boxes that the region proposal network starts from."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

from head_detection.config import AnchorConfig
from head_detection.devices import constant
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


Grids = tuple[tuple[int, int], ...]
"""``(height, width)`` of the map of each level, finest first."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Anchors:
    """The boxes that the region proposal network moves: the same at every location of a level.

    They equal torchvision's ``AnchorGenerator``'s, but are always float32, computed only for the
    requested locations, and without a copy to the device.

    Args:
        cells: anchors of each level around the origin, finest level first, equally many per level.
    """

    cells: tuple[tuple[Box, ...], ...]

    @property
    def per_location(self) -> int:
        """Number of anchors at each location of a map."""
        return len(self.cells[0])

    def at(
        self, locations: Annotated[Tensor, "b l k"], grids: Grids, padded_size: tuple[int, int]
    ) -> Annotated[Tensor, "b l k 4"]:
        """Return the ``(B, L, K, 4)`` anchors xyxy in network pixels at locations of each level.

        Args:
            locations: ``(B, L, K)`` int64, flat indices into a map ``(H, W, A)`` of the level.
            grids: of the L levels.
            padded_size: ``(height, width)`` of the batch.
        """
        device = locations.device
        rows = tuple(
            (width, *_steps((height, width), padded_size), level * self.per_location)
            for level, (height, width) in enumerate(grids)
        )
        numbers = constant(rows, device, torch.int64)[:, :, None]
        widths, down, right, first = numbers.unbind(1)
        cells = locations.div(self.per_location, rounding_mode="floor")
        kinds = locations - cells * self.per_location + first
        lines = cells.div(widths, rounding_mode="floor")
        corners = torch.stack(((cells - lines * widths) * right, lines * down), dim=3)
        around_origin = constant(sum(self.cells, ()), device)
        return around_origin[kinds] + corners.repeat(1, 1, 1, 2)

    def all(
        self, grids: Grids, padded_size: tuple[int, int], device: torch.device
    ) -> Annotated[Tensor, "n 4"]:
        """Return ``(N, 4)``, all anchors of a picture: level by level, in ``(H, W, A)`` order.

        Args:
            grids: of the levels.
            padded_size: ``(height, width)`` of the batch.
            device: of the result, which is shared and must not be modified.
        """
        return _all_anchors(self.cells, grids, padded_size, device)


def _steps(grid: tuple[int, int], padded_size: tuple[int, int]) -> tuple[int, int]:
    return padded_size[0] // grid[0], padded_size[1] // grid[1]


@lru_cache(maxsize=8)
def _all_anchors(
    cells: tuple[tuple[Box, ...], ...],
    grids: Grids,
    padded_size: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """Cache the anchors of the last few sizes; training crops all pictures to one size."""
    levels = []
    for own, grid in zip(cells, grids, strict=True):
        down, right = _steps(grid, padded_size)
        lines, columns = np.indices(grid)
        corners = np.stack((columns * right, lines * down) * 2, axis=2)[:, :, None]
        levels.append((corners + np.array(own)).reshape(-1, 4))
    with torch.inference_mode(mode=False):
        return torch.from_numpy(np.concatenate(levels).astype(np.float32)).to(device)


def anchor_sizes(config: AnchorConfig, num_levels: int) -> tuple[tuple[float, ...], ...]:
    """Return the sizes of each pyramid level in network pixels, finest level first.

    HeadHunter lists seven or eight sizes for four levels. The torchvision of its time silently used
    only the first four: layout ``legacy``. Its paper intends two per level: layout ``paper``.

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


def build_anchors(config: AnchorConfig, num_levels: int) -> Anchors:
    """Return the anchors for a pyramid of ``num_levels`` levels.

    Raises:
        ConfigError: as ``anchor_sizes``.

    Example:
        >>> build_anchors(AnchorConfig(sizes=((8, 16),), ratios=(1.0,)), 1).cells
        (((-4.0, -4.0, 4.0, 4.0), (-8.0, -8.0, 8.0, 8.0)),)
    """
    sizes = anchor_sizes(config, num_levels)
    ratios = config.ratios or PRESETS[config.preset].ratios
    generator = AnchorGenerator(sizes, (ratios,) * num_levels)
    return Anchors(tuple(tuple(map(tuple, own.tolist())) for own in generator.cell_anchors))


def median_anchor_sizes(boxes: Annotated[Tensor, "n 4"], num_levels: int) -> tuple[float, ...]:
    """Return one anchor size per pyramid level: the medians of equal shares of the heads.

    Args:
        boxes: ``(N, 4)`` xyxy in network pixels (after the resize that training uses),
            N >= num_levels.
        num_levels: pyramid levels, finest first.

    Returns:
        Square roots of area in network pixels, ascending.

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


def kmeans_anchor_sizes(
    boxes: Annotated[Tensor, "n 4"], num_levels: int, num_rounds: int = 100
) -> tuple[float, ...]:
    """Return one anchor size per pyramid level: k-means of log size, small to large.

    Args:
        boxes: ``(N, 4)`` xyxy in network pixels, N >= num_levels.
        num_levels: number of clusters.
        num_rounds: most rounds of Lloyd's algorithm, which starts from the medians and so needs no
            seed.

    Returns:
        Square roots of area in network pixels, ascending.

    Raises:
        ValueError: fewer boxes than levels, or a box without area.

    Example:
        >>> kmeans_anchor_sizes(torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 40, 40.0]]), 2)
        (10.0, 40.0)
    """
    # Importing it takes a sixth of a second, and detection does not need it.
    from scipy.cluster.vq import kmeans2  # noqa: PLC0415

    logs = _sorted_sizes(boxes, num_levels).log().numpy()[:, None]
    starts = np.log(median_anchor_sizes(boxes, num_levels))[:, None]
    with warnings.catch_warnings():
        # Heads of equal size may leave a cluster empty; its centre stays unchanged.
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        centres, _ = kmeans2(logs, starts, iter=num_rounds, minit="matrix")
    return tuple(round(float(size), 2) for size in np.sort(np.exp(centres[:, 0])))


def median_ratio(boxes: Annotated[Tensor, "n 4"]) -> float:
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
    """Split ascending sizes into equal runs per level, as ``network.anchors.sizes`` of a config.

    Raises:
        ValueError: the number of sizes is not a multiple of the number of levels.

    Example:
        >>> levels_of_sizes((8, 16, 32, 64), 2)
        ((8, 16), (32, 64))
    """
    per_level, rest = divmod(len(sizes), num_levels)
    if rest or not per_level:
        raise ValueError(f"sizes: expected a multiple of {num_levels}; got {len(sizes)}")
    return tuple(tuple(sizes[per_level * k : per_level * (k + 1)]) for k in range(num_levels))
