"""RoIAlign: pooling the features of each box from the pyramid level that fits its size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor
from torchvision.ops import roi_align

from head_detection.devices import constant
from head_detection.kernels import can_run

CANONICAL_LEVEL = 4
"""log2 of stride 16, the level from which a box of the canonical scale is pooled."""
ROUNDING = 1e-6
"""torchvision's value, so that a box of exactly the canonical scale is not taken for smaller."""


@dataclass(frozen=True)
class PyramidRoIAlign:
    """torchvision's multi-scale RoIAlign for a batch at once, several times as fast on a CPU.

    torchvision infers the scales from the first picture and keeps them. It divides padded features
    by the unpadded size, so that a thin first picture gives wrong scales for all later ones. It
    also synchronises with a GPU for the boxes of each level, and its CPU kernel uses one thread,
    channel by channel. Here each cell of a box is a weighted sum of rows of a table, where a row is
    all channels of a pixel; ``embedding_bag`` computes it with vectors and threads. Results differ
    only by rounding.

    Args:
        strides: strides of the feature maps in network pixels, finest first.
        pool_size: height and width of the pooled features.
        sampling_ratio: samples per cell and direction, at least 1.
        canonical_scale: boxes of this size are pooled from stride 16.
        num_pooled: number of levels to pool from, the finest ones; None means all.

    Source:
        Lin et al., Feature Pyramid Networks, CVPR 2017, equation 1; He et al., Mask R-CNN, ICCV
        2017, section 3.
    """

    strides: tuple[float, ...]
    pool_size: int
    sampling_ratio: int
    canonical_scale: int
    num_pooled: int | None = None

    def __call__(
        self,
        features: Sequence[Annotated[Tensor, "b c _ _"]],
        boxes: Annotated[Tensor, "m 4"],
        image: Annotated[Tensor, "m"],
    ) -> Annotated[Tensor, "m c s s"]:
        """Return ``(M, C, pool_size, pool_size)``.

        Args:
            features: ``(B, C, H_i, W_i)`` of each level, finest first; of any type, which the
                kernel keeps. Without it the result is float32.
            boxes: ``(M, 4)`` xyxy in network pixels, of any picture.
            image: ``(M,)`` int64 in 0..B-1: the picture of each box.
        """
        levels = features[: self.num_pooled]
        if not levels[0].requires_grad and can_run(boxes.device):
            return self._pool_in_kernel(levels, boxes, image)
        levels = [level.float() for level in levels]  # networks fused for the kernel keep a type
        own_level = self.level_of(boxes)
        if boxes.device.type not in ("cpu", "cuda"):
            return self._pool_elsewhere(levels, boxes, image, own_level)
        maps = [level.permute(0, 2, 3, 1) for level in levels]
        # In training, levels without a box must also get a gradient, of zeros.
        is_apart = boxes.device.type == "cpu" and not levels[0].requires_grad
        pool = self._pool_level_by_level if is_apart else self._pool_at_once
        side = self.pool_size
        cells = pool(maps, boxes, image, own_level)
        return cells.view(len(boxes), side, side, levels[0].shape[1]).permute(0, 3, 1, 2)

    def _pool_in_kernel(self, levels: Sequence[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """Pool in one launch, in the type of the features."""
        from head_detection.kernels.roi_align import pool  # noqa: PLC0415 - imports Triton

        maps = [level.permute(0, 2, 3, 1) for level in levels]
        starts = [0, *accumulate(level[..., 0].numel() for level in maps[:-1])]
        numbers = tuple(
            (*own.shape[1:3], start, 1 / stride, round(math.log2(stride)))
            for stride, own, start in zip(self.strides, maps, starts, strict=False)
        )
        table = torch.cat([level.reshape(-1, level.shape[3]) for level in maps])
        side = self.pool_size
        cells = pool(
            table,
            boxes,
            image,
            constant(numbers, boxes.device, torch.float64),
            side,
            self.sampling_ratio,
            self.canonical_scale,
        )
        return cells.view(len(boxes), side, side, -1).permute(0, 3, 1, 2)

    def _pool_at_once(
        self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor, level_of: Tensor
    ) -> Tensor:
        """Pool from one table of all levels; it reads no sizes, so it does not synchronise."""
        starts = [0, *accumulate(level[..., 0].numel() for level in maps[:-1])]
        rows, weights = self._bags(maps, starts, boxes, image, level_of)
        table = torch.cat([level.reshape(-1, level.shape[3]) for level in maps])
        if table.device.type == "cpu" and table.requires_grad:
            sums: Tensor = WeightedSums.apply(table, rows, weights)
            return sums
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)

    def _pool_level_by_level(
        self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor, level_of: Tensor
    ) -> Tensor:
        """Pool from each level in place; a table would copy all maps even for a few boxes."""
        order = level_of.argsort(stable=True)
        rows, weights = self._bags(
            maps, [0] * len(maps), boxes[order], image[order], level_of[order]
        )
        channels, cells = maps[0].shape[3], self.pool_size**2
        parts, start = [], 0
        for level, count in zip(maps, level_of.bincount(minlength=len(maps)).tolist(), strict=True):
            if count:
                own = slice(start * cells, (start + count) * cells)
                sums = F.embedding_bag(
                    rows[own],
                    level.reshape(-1, channels),
                    mode="sum",
                    per_sample_weights=weights[own],
                )
                parts.append((order[start : start + count], sums.view(count, -1)))
            start += count
        if len(parts) == 1:  # all boxes on one level, as in a crowd: already in order
            return parts[0][1]
        pooled = maps[0].new_empty((len(boxes), cells * channels))
        for places, sums in parts:
            pooled.index_copy_(0, places, sums)
        return pooled

    def level_of(self, boxes: Annotated[Tensor, "m 4"]) -> Annotated[Tensor, "m"]:
        """Return ``(M,)`` int64: the coarsest level that is not coarser than the box's size needs.

        Strides may skip powers of two. NaN boxes get the finest level.

        Example:
            >>> boxes = torch.tensor([[0, 0, 20, 20], [0, 0, 112, 112], [0, 0, 500, 500.0]])
            >>> PyramidRoIAlign((4, 8, 32), 7, 2, 224).level_of(boxes).tolist()
            [0, 1, 2]
        """
        coarser = self.strides[1 : self.num_pooled]
        if not coarser:
            return torch.zeros_like(boxes[:, 0], dtype=torch.int64)
        sides = boxes[:, 2:] - boxes[:, :2]
        sizes = (sides[:, 0] * sides[:, 1]).sqrt()
        wanted = torch.floor(torch.log2(sizes / self.canonical_scale) + CANONICAL_LEVEL + ROUNDING)
        exponents = tuple(float(round(math.log2(stride))) for stride in coarser)
        return (wanted[:, None] >= constant(exponents, boxes.device)).sum(dim=1)

    def _bags(
        self,
        maps: Sequence[Tensor],
        starts: Sequence[int],
        boxes: Tensor,
        image: Tensor,
        level: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return row indices into the maps' tables, and weights, ``(cells, samples)`` each.

        Args:
            maps: ``(B, H_i, W_i, C)``.
            starts: the first row of each map.
            boxes: ``(M, 4)`` in network pixels.
            image: ``(M,)``, the picture of each box.
            level: ``(M,)``, the level that each box is pooled from.
        """
        sizes = tuple(
            (*own.shape[1:3], start, 1 / stride)
            for stride, own, start in zip(self.strides, maps, starts, strict=False)
        )
        numbers = constant(sizes, boxes.device, torch.float64)[level]
        heights, widths, first_rows = numbers[:, :3].int().unbind(1)
        left, top, right, bottom = (boxes * numbers[:, 3:].float()).unbind(1)
        columns, column_weights = self._samples(left, right, widths)
        lines, line_weights = self._samples(top, bottom, heights)
        first = first_rows + image.int() * heights * widths
        lines = first[:, None, None] + lines * widths[:, None, None]
        # Combine every line with every column; long sums are faster than many short ones.
        each = columns.shape[2]
        lines, line_weights = (
            part[..., None].expand(-1, -1, -1, each).flatten(2) for part in (lines, line_weights)
        )
        columns, column_weights = (
            part[:, :, None].expand(-1, -1, each, -1).flatten(2)
            for part in (columns, column_weights)
        )
        pixels = lines[:, :, None] + columns[:, None]
        weights = line_weights[:, :, None] * column_weights[:, None]
        return pixels.view(-1, each**2), weights.view(-1, each**2)

    def _samples(self, low: Tensor, high: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels of one axis and their weights, ``(M, pool_size, 2 * sampling_ratio)`` each.

        Args:
            low: ``(M,)`` start of the boxes, in pixels of the map.
            high: ``(M,)`` end of the boxes.
            length: ``(M,)`` length of the map along this axis.
        """
        cells, ratio = self.pool_size, self.sampling_ratio
        steps = tuple((step + 0.5) / (cells * ratio) for step in range(cells * ratio))
        side = (high - low).clamp(min=1)
        # A NaN box (from a diverged network) must not read beyond the map.
        positions = low[:, None] + side[:, None] * constant(steps, low.device)
        positions = positions.nan_to_num()
        is_inside = (positions >= -1) & (positions <= length[:, None])
        last = (length - 1)[:, None]
        positions = positions.clamp(min=0).minimum(last)
        before = positions.int()
        fraction = positions - before
        pixels = torch.stack((before, (before + 1).minimum(last)), dim=2)
        weights = torch.stack((1 - fraction, fraction), dim=2) * (is_inside / ratio)[:, :, None]
        return pixels.view(-1, cells, 2 * ratio), weights.view(-1, cells, 2 * ratio)

    def _pool_elsewhere(
        self, levels: Sequence[Tensor], boxes: Tensor, image: Tensor, level_of: Tensor
    ) -> Tensor:
        """Use torchvision's kernel for each level; other devices have no ``embedding_bag``."""
        side = self.pool_size
        pooled = boxes.new_zeros((len(boxes), levels[0].shape[1], side, side))
        rois = torch.cat((image[:, None].to(boxes), boxes), dim=1)
        for index, (stride, level) in enumerate(zip(self.strides, levels, strict=False)):
            own = (level_of == index).nonzero().squeeze(1)
            pooled[own] = roi_align(level, rois[own], side, 1 / stride, self.sampling_ratio)
        return pooled


class WeightedSums(torch.autograd.Function):
    """``embedding_bag`` with weights on a CPU, whose backward pass takes half of the time.

    torch adds each sample's share to its row one by one. Here the samples are sorted by row, so
    that a row's gradient is in turn a weighted sum of rows, those of the cells' gradients.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """Return ``(M, C)`` of a table ``(N, C)``, int32 rows ``(M, K)`` and weights ``(M, K)``."""
        ctx.save_for_backward(rows, weights)
        ctx.num_rows = len(table)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the table."""
        rows, weights = ctx.saved_tensors
        order = rows.view(-1).argsort(stable=True)
        ends = rows.view(-1).bincount(minlength=ctx.num_rows).cumsum(0)
        of_table = F.embedding_bag(
            (order // rows.shape[1]).int(),
            gradient,
            F.pad(ends, (1, 0)).int(),
            mode="sum",
            per_sample_weights=weights.view(-1)[order],
            include_last_offset=True,
        )
        return of_table, None, None
