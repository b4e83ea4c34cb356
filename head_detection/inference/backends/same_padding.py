"""TensorFlow's "same" padding, which goes by the size of the input, made fixed."""

from collections.abc import Callable
from typing import Final

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from head_detection.models.network import Network

_HALVING: Final = (2, 2)


def fix_same_padding(
    network: Network, rewrite: Callable[[Conv2dSame], nn.Module | None], size_divisor: int
) -> dict[str, nn.Module]:
    """Replace, in place, the convolutions of the backbone that pad by the size of their input.

    Fixed padding is the same where that size is a multiple of their stride. Where the sides of a
    batch may be none, all stays as it is.

    Args:
        network: in evaluation mode.
        rewrite: ``pad_before`` or ``pad_in_kernel``: what is soonest done differs by who runs it.
        size_divisor: sides of a batch are multiples of it.

    Returns:
        What was replaced, by its name in the network.
    """
    if size_divisor % max(network.backbone.strides) != 0:
        return {}
    named = {
        name: module
        for name, module in network.backbone.named_modules(prefix="backbone")
        if isinstance(module, Conv2dSame)
    }
    successors = {name: rewrite(module) for name, module in named.items()}
    for name, successor in successors.items():
        if successor is not None:
            network.set_submodule(name, successor)
    return {name: named[name] for name, successor in successors.items() if successor is not None}


def pad_before(convolution: Conv2dSame) -> nn.Sequential:
    """Return padding and a plain convolution, which a library for graphs makes one step.

    Zeros in the kernel would only be more products there.
    """
    down, right = (
        max(dilation * (size - 1) + 1 - stride, 0)
        for size, dilation, stride in zip(
            convolution.kernel_size, convolution.dilation, convolution.stride, strict=True
        )
    )
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel_size[0], convolution.kernel_size[1]),
        (convolution.stride[0], convolution.stride[1]),
        dilation=(convolution.dilation[0], convolution.dilation[1]),
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    plain.weight, plain.bias = convolution.weight, convolution.bias
    padding = nn.ZeroPad2d((right // 2, right - right // 2, down // 2, down - down // 2))
    return nn.Sequential(padding, plain)


@torch.no_grad()
def pad_in_kernel(convolution: Conv2dSame) -> nn.Conv2d | None:
    """Return a convolution with a row and a column of zeros at the start of its kernels.

    On an even side "same" pads a pixel more at the end; so it pads both sides alike, which PyTorch
    does without a copy of the map. None where that is not so: other strides, even kernels.
    """
    size = convolution.kernel_size[0]
    if convolution.kernel_size != (size, size) or convolution.stride != _HALVING:
        return None
    if size % 2 == 0 or convolution.dilation != (1, 1):
        return None
    even = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        size + 1,
        _HALVING,
        (size - 1) // 2,
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    even.weight.zero_()
    even.weight[:, :, 1:, 1:] = convolution.weight
    if even.bias is not None and convolution.bias is not None:
        even.bias.copy_(convolution.bias)
    return even.eval().to(memory_format=torch.channels_last)
