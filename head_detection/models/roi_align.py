"""Pooled features of boxes, each from the pyramid level that fits its size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, box_area
from torchvision.ops.poolers import LevelMapper

CANONICAL_LEVEL = 4
"""log2 of stride 16, whence a box of the canonical scale is pooled."""


class PyramidRoIAlign(MultiScaleRoIAlign):
    """torchvision's multi-scale RoIAlign, several times as fast on CPU, with strides given.

    torchvision reads the scales off the first picture that it sees and keeps them for good. The
    features have that picture's padding and its size has not, so that one thin picture, first of
    all, spoils every later one.

    Its kernel for CPU works in one thread, channel by channel. Here each cell of a box is a bag of
    weighted rows of a table, a row being all channels of a pixel: ``embedding_bag`` sums them in
    vectors and threads. The result differs by rounding alone.

    Args:
        strides: of the feature maps in network pixels, finest first; their names are those of
            the maps unless ``names`` are given.
        pool_size: height and width of what is pooled.
        sampling_ratio: samples a cell and direction, at least 1.
        canonical_scale: boxes of this size are pooled from stride 16.
        names: of the feature maps.

    Source:
        Lin et al., Feature Pyramid Networks, CVPR 2017, equation 1; He et al., Mask R-CNN, ICCV
        2017, section 3.
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

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Return ``(N, C, pool_size, pool_size)`` for the N boxes of all pictures together.

        Args:
            x: ``(B, C, H_i, W_i)`` by level, float32.
            boxes: ``(N_b, 4)`` xyxy of each picture, in network pixels.
            image_shapes: ``(height, width)`` of each picture in network pixels.
        """
        if boxes[0].device.type != "cpu":
            pooled: Tensor = super().forward(x, boxes, image_shapes)
            return pooled
        maps = [x[name].permute(0, 2, 3, 1) for name in self.featmap_names]
        rows, weights = self._bags(maps, boxes)
        table = torch.cat([level.reshape(-1, level.shape[3]) for level in maps])
        cells = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
        side = self.output_size[0]
        return cells.view(-1, side, side, table.shape[1]).permute(0, 3, 1, 2)

    def _bags(self, maps: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return rows of the table of all maps, and their weights, ``(cells, samples)`` each."""
        levels, all_boxes = self.map_levels(boxes), torch.cat(boxes)
        shapes = torch.tensor([level.shape[:3] for level in maps])
        ends = shapes.prod(dim=1).cumsum(0)
        scales = torch.tensor(self.scales)[levels]
        _, heights, widths = shapes[levels].unbind(1)
        owner = torch.repeat_interleave(torch.tensor([len(own) for own in boxes]))
        first_row = (ends - shapes.prod(dim=1))[levels] + owner * heights * widths
        left, top, right, bottom = (all_boxes * scales[:, None]).unbind(1)
        columns, column_weights = self._samples(left, right, widths)
        lines, line_weights = self._samples(top, bottom, heights)
        rows = (first_row[:, None, None] + lines * widths[:, None, None])[:, :, None, :, None]
        rows = rows + columns[:, None, :, None, :]
        weights = line_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        samples = columns.shape[2] ** 2
        return rows.view(-1, samples), weights.view(-1, samples)

    def _samples(self, low: Tensor, high: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels of one axis and their weights, ``(N, pool_size, 2 * sampling_ratio)`` each.

        Args:
            low: ``(N,)`` where the boxes begin, in pixels of the map.
            high: where they end.
            length: of the map along this axis.
        """
        cells, ratio = self.output_size[0], self.sampling_ratio
        steps = (torch.arange(cells * ratio) + 0.5) / (cells * ratio)
        side = (high - low).clamp(min=1)
        # A box that is not a number (a network gone astray) must not read beyond the map.
        places = (low[:, None] + side[:, None] * steps).nan_to_num()
        is_inside = (places >= -1) & (places <= length[:, None])
        last = (length - 1)[:, None]
        places = places.clamp(min=0).minimum(last)
        before = places.long()
        fraction = places - before
        pixels = torch.stack((before, (before + 1).minimum(last)), dim=2)
        weights = torch.stack((1 - fraction, fraction), dim=2) * (is_inside / ratio)[:, :, None]
        return pixels.view(-1, cells, 2 * ratio), weights.view(-1, cells, 2 * ratio)


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
        self._coarser: list[float] = levels[1:].tolist()

    def __call__(self, boxlists: list[Tensor]) -> Tensor:
        """Return ``(N,)`` int64: the coarsest level that is not coarser than the box asks for."""
        sizes = box_area(torch.cat(boxlists)).sqrt()
        wanted = torch.floor(self.lvl0 + torch.log2(sizes / self.s0) + self.eps)
        places = torch.zeros_like(wanted, dtype=torch.int64)
        for level in self._coarser:  # plain numbers: a GPU waits for each copy of a tensor
            places += wanted >= level
        return places
