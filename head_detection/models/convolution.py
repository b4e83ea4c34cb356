"""Convolutions with batch norm, and convolutions with TensorFlow's padding."""

from typing import TypeVar

import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, which depends on the input's size.

    The output has ``ceil(size / stride)`` rows and columns; odd padding has one pixel more at the
    end. PyTorch's ``padding="same"`` does not support strides.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as nn.Conv2d names it
        """Return ``(B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        down, right = (
            _at_least_0(((size - 1) // stride) * stride + (kernel - 1) * dilation + 1 - size)
            for size, kernel, stride, dilation in zip(
                input.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True
            )
        )
        padded = F.pad(input, (right // 2, right - right // 2, down // 2, down - down // 2))
        return super().forward(padded)


def _at_least_0(number: int) -> int:
    """Return a padding; sizes are tensors during tracing, so that the graph computes it."""
    return number.clamp(min=0) if isinstance(number, Tensor) else max(number, 0)


ConvolutionT = TypeVar("ConvolutionT", bound=nn.Conv2d)


def made_of(kind: type[ConvolutionT], other: nn.Conv2d) -> ConvolutionT:
    """Convert a convolution to another class with the same parameters, without padding."""
    made = kind(
        other.in_channels,
        other.out_channels,
        (other.kernel_size[0], other.kernel_size[1]),
        (other.stride[0], other.stride[1]),
        dilation=(other.dilation[0], other.dilation[1]),
        groups=other.groups,
        bias=other.bias is not None,
    )
    made.weight, made.bias = other.weight, other.bias
    return made


def same_convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Return a convolution without bias and with TensorFlow's padding.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side in pixels, odd, so that padding at stride 1 does not depend on the input.
        stride: step in pixels.
        groups: groups of channels.
    """
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)


def activation(negative_slope: float) -> nn.Module:
    """Return LeakyReLU of that slope, or ReLU for 0."""
    return nn.LeakyReLU(negative_slope, inplace=True) if negative_slope else nn.ReLU(inplace=True)


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    negative_slope: float | None = None,
) -> nn.Sequential:
    """Return convolution without bias, batch norm, and an activation if a slope is given.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side in pixels.
        stride: step in pixels.
        padding: pixels on each side; None keeps the size at stride 1.
        negative_slope: slope of LeakyReLU, 0 for ReLU, None for no activation.
    """
    padding = kernel // 2 if padding is None else padding
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if negative_slope is not None:
        layers.append(activation(negative_slope))
    return nn.Sequential(*layers)
