"""Convolutions: with batch norm, as MobileNet and contexts have them; padded as TensorFlow's."""

from typing import TypeVar

import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A convolution padded by the size of what comes in: TensorFlow's "same".

    The result has as many rows as strides begin in the input; where the padding is odd, its last
    row and column have one more. It is no ``padding="same"`` of PyTorch's, which takes no strides.
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
    """Return a padding; while a graph is traced, sizes are tensors, and the graph keeps the sum."""
    return number.clamp(min=0) if isinstance(number, Tensor) else max(number, 0)


ConvolutionT = TypeVar("ConvolutionT", bound=nn.Conv2d)


def made_of(kind: type[ConvolutionT], other: nn.Conv2d) -> ConvolutionT:
    """Return a convolution of another kind with the numbers of one, and no padding of its own."""
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
    """Return a convolution without bias that pads as TensorFlow does.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side in pixels, odd: at stride 1 the padding is the same for every input.
        stride: step in pixels.
        groups: of channels.
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
        negative_slope: of LeakyReLU, 0 for ReLU, None for no activation.
    """
    padding = kernel // 2 if padding is None else padding
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if negative_slope is not None:
        layers.append(activation(negative_slope))
    return nn.Sequential(*layers)
