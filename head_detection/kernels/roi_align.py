"""RoIAlign of a pyramid, where a program reads pixels with all their channels."""

from typing import Annotated, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

CANONICAL_LEVEL: Final = tl.constexpr(4)
ROUNDING: Final = tl.constexpr(1e-6)
"""As in ``models.roi_align``."""


def pool(
    table: Annotated[Tensor, "rows c"],
    boxes: Annotated[Tensor, "m 4"],
    image: Annotated[Tensor, "m"],
    levels: Annotated[Tensor, "l 5"],
    pool_size: int,
    sampling_ratio: int,
    canonical_scale: int,
) -> Annotated[Tensor, "m cells c"]:
    """Return ``(M, pool_size**2, C)`` of the table's type, as ``models.roi_align`` pools.

    Args:
        table: the pixels of all levels and pictures on a GPU, a row each with all channels.
        boxes: ``(M, 4)`` xyxy float32 in network pixels.
        image: ``(M,)`` int64: the picture of each box.
        levels: ``(L, 5)`` float64: height, width and first row of each level, what network pixels
            are multiplied by, and the logarithm of its stride.
        pool_size: cells per side.
        sampling_ratio: samples per cell and direction.
        canonical_scale: boxes of this size are pooled from stride 16.
    """
    channels = table.shape[1]
    pooled = torch.empty(
        (len(boxes), pool_size**2, channels), dtype=table.dtype, device=table.device
    )
    if pooled.numel():
        with torch.cuda.device_of(table):
            _pool[(len(boxes), pool_size)](
                table.contiguous(), boxes.contiguous(), image.contiguous(), levels, pooled,
                canonical_scale, channels, len(levels), pool_size, sampling_ratio,
                triton.next_power_of_2(pool_size), triton.next_power_of_2(channels),
            )  # fmt: skip
    return pooled


@triton.jit
def _sample(low, side, step, length):
    """Return the two pixels beside a position along an axis, and their weights."""
    position = low + side * step
    position = tl.where(position == position, position, 0.0)  # a NaN box must not read elsewhere
    is_inside = (position >= -1.0) & (position <= length)
    position = tl.minimum(tl.maximum(position, 0.0), length - 1.0)
    before = position.to(tl.int32)
    fraction = position - before.to(tl.float32)
    after = tl.minimum(before + 1, length.to(tl.int32) - 1)
    inside = is_inside.to(tl.float32)
    return before, after, (1.0 - fraction) * inside, fraction * inside


@triton.jit
def _level_of(across, down, levels, scale, num_levels: tl.constexpr):
    """Return the level of a box as ``models.roi_align`` chooses it; 0 for NaN."""
    wanted = tl.floor(tl.log2(tl.sqrt(across * down) / scale) + CANONICAL_LEVEL + ROUNDING)
    level = 0
    for coarser in tl.static_range(1, num_levels):
        level += (wanted >= tl.load(levels + coarser * 5 + 4).to(tl.float32)).to(tl.int32)
    return level


@triton.jit
def _read(line, pixel, channel, channels: tl.constexpr, is_own):
    """Return the channels of a pixel of the line for each cell, float32."""
    return tl.load(line + pixel[:, None] * channels + channel[None, :], is_own, 0.0).to(tl.float32)


@triton.jit(do_not_specialize=["scale"])
def _pool(
    table, boxes, image, levels, pooled, scale,
    channels: tl.constexpr, num_levels: tl.constexpr, size: tl.constexpr, ratio: tl.constexpr,
    cells: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    box = tl.program_id(0).to(tl.int64)
    line = tl.program_id(1)
    left, top = tl.load(boxes + box * 4), tl.load(boxes + box * 4 + 1)
    right, bottom = tl.load(boxes + box * 4 + 2), tl.load(boxes + box * 4 + 3)
    level = _level_of(right - left, bottom - top, levels, scale, num_levels)
    numbers = levels + level * 5
    height, across = tl.load(numbers), tl.load(numbers + 1)
    first, factor = tl.load(numbers + 2), tl.load(numbers + 3).to(tl.float32)
    first = first.to(tl.int64) + tl.load(image + box) * (height * across).to(tl.int64)
    left, top, right, bottom = left * factor, top * factor, right * factor, bottom * factor
    side_across, side_down = tl.maximum(right - left, 1.0), tl.maximum(bottom - top, 1.0)
    height_32, across_32 = height.to(tl.float32), across.to(tl.float32)
    row_length = across.to(tl.int64)
    cell, channel = tl.arange(0, cells), tl.arange(0, width)
    is_own = (cell < size)[:, None] & (channel < channels)[None, :]
    total = tl.zeros((cells, width), tl.float32)
    for down in tl.static_range(ratio):
        step = (line * ratio + down + 0.5) / (size * ratio)
        y0, y1, wy0, wy1 = _sample(top, side_down, step, height_32)
        for over in tl.static_range(ratio):
            steps = (cell * ratio + over + 0.5) / (size * ratio)
            x0, x1, wx0, wx1 = _sample(left, side_across, steps, across_32)
            upper = table + (first + y0 * row_length) * channels
            lower = table + (first + y1 * row_length) * channels
            total += (wy0 * wx0)[:, None] * _read(upper, x0, channel, channels, is_own)
            total += (wy0 * wx1)[:, None] * _read(upper, x1, channel, channels, is_own)
            total += (wy1 * wx0)[:, None] * _read(lower, x0, channel, channels, is_own)
            total += (wy1 * wx1)[:, None] * _read(lower, x1, channel, channels, is_own)
    total = total / (ratio * ratio)
    place = (box * size + line) * size + cell
    tl.store(pooled + place[:, None] * channels + channel[None, :], total, is_own)
