"""Pooled features of boxes, each from the pyramid level that fits its size."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, box_area
from torchvision.ops.poolers import LevelMapper

CANONICAL_LEVEL = 4
"""log2 of stride 16, whence a box of the canonical scale is pooled."""


class PyramidRoIAlign(MultiScaleRoIAlign):
    """torchvision's multi-scale RoIAlign that knows the strides of its levels.

    torchvision reads the scales off the first picture that it sees and keeps them for good. The
    features have that picture's padding and its size has not, so that one thin picture, first of
    all, spoils every later one.

    Args:
        strides: of the feature maps in network pixels, finest first; their names are those of
            the maps unless ``names`` are given.
        pool_size: height and width of what is pooled.
        sampling_ratio: samples a cell and direction.
        canonical_scale: boxes of this size are pooled from stride 16.
        names: of the feature maps.

    Source:
        Lin et al., Feature Pyramid Networks, CVPR 2017, equation 1.
    """

    def __init__(
        self,
        strides: Sequence[float],
        pool_size: int,
        sampling_ratio: int,
        canonical_scale: int,
        names: Sequence[str],
    ) -> None:
        super().__init__(list(names), pool_size, sampling_ratio, canonical_scale=canonical_scale)
        self.scales = [1.0 / stride for stride in strides]
        self.map_levels = StrideMapper(strides, canonical_scale)


class StrideMapper(LevelMapper):
    """The place of the level for each box; strides may leave out powers of two.

    Example:
        >>> boxes = [torch.tensor([[0, 0, 20, 20], [0, 0, 112, 112], [0, 0, 500, 500.0]])]
        >>> StrideMapper([4, 8, 32], 224)(boxes).tolist()
        [0, 1, 2]
    """

    def __init__(self, strides: Sequence[float], canonical_scale: int) -> None:
        levels = torch.tensor(strides, dtype=torch.float32).log2().round()
        super().__init__(int(levels[0]), int(levels[-1]), canonical_scale, CANONICAL_LEVEL)
        self._levels = levels

    def __call__(self, boxlists: list[Tensor]) -> Tensor:
        """Return ``(N,)`` int64: the coarsest level that is not coarser than the box asks for."""
        sizes = box_area(torch.cat(boxlists)).sqrt()
        wanted = torch.floor(self.lvl0 + torch.log2(sizes / self.s0) + self.eps)
        places = torch.bucketize(wanted, self._levels.to(wanted.device), right=True) - 1
        return places.clamp(min=0)
