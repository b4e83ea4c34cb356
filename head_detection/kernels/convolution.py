"""Convolutions of channels_last maps in half precision, fused with bias and activation.

PyTorch adds the bias and clamps in passes of their own, which read and write the map again. Dense
3x3 convolutions stay with cuDNN.
"""

from collections.abc import Callable
from typing import Annotated, Final, NamedTuple

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
"""Kernels count in 32 bits; a batch with more values is halved."""
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
    if _is_too_large(maps, len(weight) * maps[:, 0].numel()):
        return _in_halves(lambda part: pointwise(part, weight, bias, activation), maps)
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
            activation, rows, columns, 32,
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
    stride, above, left, *size = placement
    if _is_too_large(maps, len(maps) * maps.shape[1] * size[0] * size[1]):
        return _in_halves(lambda part: depthwise(part, weight, bias, activation, placement), maps)
    maps = maps.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = maps.shape
    made = _empty(maps, channels, size[0], size[1])
    pixels, side = batch * size[0] * size[1], round(len(weight) ** 0.5)
    grid = (triton.cdiv(pixels, 32), triton.cdiv(channels, 64))
    with torch.cuda.device_of(maps):
        _depthwise[grid](
            maps, weight, bias, made, pixels, height, width, *size, channels // 8, above, left,
            side, stride, activation, 32, 64,
        )  # fmt: skip
    return made


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
    outputs, (stride, above, left, *size) = weight.shape[1], placement
    if _is_too_large(maps, len(maps) * outputs * size[0] * size[1]):
        return _in_halves(lambda part: stem(part, weight, bias, activation, placement), maps)
    maps = maps.contiguous(memory_format=torch.channels_last)
    batch, inputs, height, width = maps.shape
    made = _empty(maps, outputs, size[0], size[1])
    pixels, side = batch * size[0] * size[1], round((len(weight) // inputs) ** 0.5)
    with torch.cuda.device_of(maps):
        _stem[(triton.cdiv(pixels, 64),)](
            maps, weight, bias, made, pixels, height, width, *size, outputs // 8, above, left,
            inputs, side, stride, activation, 64, max(16, triton.next_power_of_2(outputs)),
        )  # fmt: skip
    return made


def _is_too_large(maps: Tensor, made: int) -> bool:
    return len(maps) > 1 and max(maps.numel(), made) >= MOST_VALUES


def _in_halves(convolve: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    parts = [convolve(part) for part in maps.split(-(-len(maps) // 2))]
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


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


@triton.jit(do_not_specialize=["pixels", "inputs", "outputs"])
def _pointwise(
    maps, weight, bias, made, pixels, inputs, outputs,
    activation: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    inputs, outputs = inputs * EIGHT, outputs * EIGHT
    row = tl.program_id(0) * rows + tl.arange(0, rows)
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
    side: tl.constexpr, stride: tl.constexpr, activation: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    channels = channels * EIGHT
    row = tl.program_id(0) * rows + tl.arange(0, rows)
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
    rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    outputs = outputs * EIGHT
    row = tl.program_id(0) * rows + tl.arange(0, rows)
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
