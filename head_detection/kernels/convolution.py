"""Convolutions of channels_last maps in half precision, fused with bias and activation.

PyTorch adds the bias and clamps in passes of their own, which read and write the map again. Dense
3x3 convolutions stay with cuDNN.
"""

import math
from typing import Annotated, Any, Final, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

LINEAR: Final = 0
RELU: Final = 1
RELU6: Final = 2
"""Activations."""
EIGHT: Final = tl.constexpr(8)
"""Channels come in eighths, so that the compiler knows that rows begin at 16 bytes."""
MOST_VALUES: Final = 2**31
"""Maps with so many values are counted in 64 bits, others in 32, which is faster."""
PLACES: Final = ["pixels", "height", "width", "made_height", "made_width", "above", "left"]
"""Numbers that a kernel is not compiled anew for."""
FEW: Final = 16384
"""Pixels of a small map, of which a program computes fewer, so that all processors have work."""


class Placement(NamedTuple):
    """Where the cells of a result lie on the map.

    Attributes:
        stride: in pixels.
        above: lines of zeros above the map.
        left: columns of zeros to the left of it.
        height: of the result.
        width: of the result.
    """

    stride: int
    above: int
    left: int
    height: int
    width: int


def pointwise(
    maps: Annotated[Tensor, "b c h w"],
    weight: Annotated[Tensor, "d c"],
    bias: Annotated[Tensor, "d"],
    activation: int,
) -> Annotated[Tensor, "b d h w"]:
    """Return a 1x1 convolution, channels_last.

    Args:
        maps: ``(B, C, H, W)`` float16 or bfloat16 on a GPU.
        weight: ``(D, C)`` of the same type.
        bias: ``(D,)`` float32.
        activation: ``LINEAR``, ``RELU`` or ``RELU6``.
    """
    maps = maps.contiguous(memory_format=torch.channels_last)
    batch, inputs, height, width = maps.shape
    outputs, pixels = len(weight), batch * height * width
    made = _empty(maps, outputs, height, width)
    rows, most = (64, 64) if pixels <= FEW else (128, 128)
    columns = min(most, max(32, triton.next_power_of_2(outputs)))
    grid = (triton.cdiv(pixels, rows), triton.cdiv(outputs, columns))
    with torch.cuda.device_of(maps):
        _pointwise[grid](
            maps, weight, bias, made, pixels, inputs // 8, outputs // 8,
            activation, _are_many(maps, made), rows, columns, 32,
        )  # fmt: skip
    return made


def depthwise(
    maps: Annotated[Tensor, "b c h w"],
    weight: Annotated[Tensor, "taps c"],
    bias: Annotated[Tensor, "c"],
    activation: int,
    placement: Placement,
) -> Annotated[Tensor, "b c _ _"]:
    """Return a depthwise convolution, channels_last.

    Args:
        maps: as ``pointwise``.
        weight: ``(side**2, C)`` of the same type.
        bias: ``(C,)`` float32.
        activation: as ``pointwise``.
        placement: of the result.
    """
    tile = {"side": math.isqrt(len(weight)), "rows": 32, "columns": 64}
    return _convolve(_depthwise, maps, weight, bias, activation, placement, tile)


def stem(
    maps: Annotated[Tensor, "b c h w"],
    weight: Annotated[Tensor, "taps*c d"],
    bias: Annotated[Tensor, "d"],
    activation: int,
    placement: Placement,
) -> Annotated[Tensor, "b d _ _"]:
    """Return a convolution of a picture, which has few channels; channels_last.

    Args:
        maps: as ``pointwise``.
        weight: ``(side**2 * C, D)`` of the same type, the channels of a tap side by side.
        bias: ``(D,)`` float32.
        activation: as ``pointwise``.
        placement: as ``depthwise``.
    """
    inputs, columns = maps.shape[1], max(16, triton.next_power_of_2(weight.shape[1]))
    side = math.isqrt(len(weight) // inputs)
    tile = {"inputs": inputs, "side": side, "rows": 64, "columns": columns}
    return _convolve(_stem, maps, weight, bias, activation, placement, tile)


def _convolve(
    kernel: Any,
    maps: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: int,
    placement: Placement,
    tile: dict[str, int],
) -> Tensor:
    """Launch a kernel whose weight has the channels of a result side by side.

    Args:
        kernel: ``_depthwise`` or ``_stem``.
        maps: as ``pointwise``.
        weight: ``(taps, D)``.
        bias: ``(D,)``.
        activation: as ``pointwise``.
        placement: of the result.
        tile: the kernel's own constants, with the pixels and channels that a program computes.
    """
    stride, above, left, *size = placement
    maps = maps.contiguous(memory_format=torch.channels_last)
    batch, _, height, width = maps.shape
    outputs, pixels = weight.shape[1], batch * size[0] * size[1]
    made = _empty(maps, outputs, size[0], size[1])
    grid = (triton.cdiv(pixels, tile["rows"]), triton.cdiv(outputs, tile["columns"]))
    with torch.cuda.device_of(maps):
        kernel[grid](
            maps, weight, bias, made, pixels, height, width, *size, outputs // 8, above, left,
            stride=stride, activation=activation, many=_are_many(maps, made), **tile,
        )  # fmt: skip
    return made


def _are_many(*maps: Tensor) -> bool:
    return max(own.numel() for own in maps) >= MOST_VALUES


def _empty(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    return torch.empty(
        (len(like), channels, height, width),
        dtype=like.dtype,
        device=like.device,
        memory_format=torch.channels_last,
    )


@triton.jit
def _activate(values, activation: tl.constexpr):
    if activation > 0:
        values = tl.maximum(values, 0.0)
    if activation > 1:
        values = tl.minimum(values, 6.0)
    return values


@triton.jit
def _rows_of(rows: tl.constexpr, many: tl.constexpr):
    """Return the pixels of a program; with many values, all that is computed from them has 64 bits.

    Sizes that count no values fit in 32.
    """
    first = tl.program_id(0)
    if many:
        first = first.to(tl.int64)
    return first * rows + tl.arange(0, rows)


@triton.jit(do_not_specialize=["pixels", "inputs", "outputs"])
def _pointwise(
    maps, weight, bias, made, pixels, inputs, outputs,
    activation: tl.constexpr, many: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    inputs, outputs = inputs * EIGHT, outputs * EIGHT
    row = _rows_of(rows, many)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    is_row, is_column = row < pixels, column < outputs
    total = tl.zeros((rows, columns), tl.float32)
    for start in range(0, inputs, depth):
        channel = start + tl.arange(0, depth)
        is_channel = channel < inputs
        own = tl.load(
            maps + row[:, None] * inputs + channel[None, :],
            is_row[:, None] & is_channel[None, :], 0.0,
        )  # fmt: skip
        factors = tl.load(
            weight + column[None, :] * inputs + channel[:, None],
            is_column[None, :] & is_channel[:, None], 0.0,
        )  # fmt: skip
        total = tl.dot(own, factors, total)
    total += tl.load(bias + column, is_column, 0.0)[None, :]
    total = _activate(total, activation)
    tl.store(
        made + row[:, None] * outputs + column[None, :], total,
        is_row[:, None] & is_column[None, :],
    )  # fmt: skip


@triton.jit(do_not_specialize=[*PLACES, "channels"])
def _depthwise(
    maps, weight, bias, made, pixels, height, width, made_height, made_width, channels, above, left,
    side: tl.constexpr, stride: tl.constexpr, activation: tl.constexpr, many: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    channels = channels * EIGHT
    row = _rows_of(rows, many)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    is_row, is_column = row < pixels, column < channels
    x0 = row % made_width * stride - left
    y0 = row // made_width % made_height * stride - above
    first = row // (made_width * made_height) * height
    total = tl.zeros((rows, columns), tl.float32)
    total += tl.load(bias + column, is_column, 0.0)[None, :]
    for down in range(side):  # not unrolled: 25 taps at once take the compiler long
        y = y0 + down
        is_line = is_row & (y >= 0) & (y < height)
        line = (first + y) * width
        for across in tl.static_range(side):
            x = x0 + across
            is_inside = is_line & (x >= 0) & (x < width)
            own = tl.load(
                maps + (line + x)[:, None] * channels + column[None, :],
                is_inside[:, None] & is_column[None, :], 0.0,
            )  # fmt: skip
            factor = tl.load(weight + (down * side + across) * channels + column, is_column, 0.0)
            total += own.to(tl.float32) * factor.to(tl.float32)[None, :]
    total = _activate(total, activation)
    tl.store(
        made + row[:, None] * channels + column[None, :], total,
        is_row[:, None] & is_column[None, :],
    )  # fmt: skip


@triton.jit(do_not_specialize=[*PLACES, "outputs"])
def _stem(
    maps, weight, bias, made, pixels, height, width, made_height, made_width, outputs, above, left,
    inputs: tl.constexpr, side: tl.constexpr, stride: tl.constexpr, activation: tl.constexpr,
    many: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    outputs = outputs * EIGHT
    row = _rows_of(rows, many)
    column = tl.arange(0, columns)
    is_row, is_column = row < pixels, column < outputs
    x0 = row % made_width * stride - left
    y0 = row // made_width % made_height * stride - above
    first = row // (made_width * made_height) * height
    total = tl.zeros((rows, columns), tl.float32)
    total += tl.load(bias + column, is_column, 0.0)[None, :]
    for down in range(side):
        y = y0 + down
        is_line = is_row & (y >= 0) & (y < height)
        line = (first + y) * width
        for across in tl.static_range(side):
            x = x0 + across
            is_inside = is_line & (x >= 0) & (x < width)
            for channel in tl.static_range(inputs):
                own = tl.load(maps + (line + x) * inputs + channel, is_inside, 0.0)
                tap = (down * side + across) * inputs + channel
                factor = tl.load(weight + tap * outputs + column, is_column, 0.0)
                total += own.to(tl.float32)[:, None] * factor.to(tl.float32)[None, :]
    total = _activate(total, activation)
    tl.store(
        made + row[:, None] * outputs + column[None, :], total,
        is_row[:, None] & is_column[None, :],
    )  # fmt: skip
