"""Depthwise convolutions in bfloat16 on a CPU: the same gradients, by faster kernels.

In bfloat16, oneDNN's forward pass is four times as fast as in float32, but its backward pass is up
to five times slower: to the weights for kernels of 5x5, and to the input for strides (torch 2.14,
AVX512-BF16).
"""

from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn

SLOW_KERNEL: Final = 5
"""From this kernel size on, gradients of weights are faster in float32."""
CHUNK: Final = 1 << 21
"""Input values per part of the backward pass, so that they stay in the cache in float32."""


def use_fast_gradients(model: nn.Module) -> None:
    """Make the backward pass of a model's depthwise convolutions faster where possible.

    Args:
        model: changed in place; the names and values of its tensors stay.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _has_fast_gradients(module):
            # All variants of nn.Conv2d call this method, including those with their own padding.
            module.__dict__["_conv_forward"] = _Forward(module.stride[0], int(module.padding[0]))


def _has_fast_gradients(convolution: nn.Conv2d) -> bool:
    stride, kernel, padding = convolution.stride, convolution.kernel_size, convolution.padding
    is_plain = (
        convolution.bias is None
        and convolution.padding_mode == "zeros"
        and set(convolution.dilation) == {1}
        and len({*stride}) == len({*kernel}) == len({*padding}) == 1
        and not isinstance(padding, str)
        and int(padding[0]) < kernel[0]
    )
    is_depthwise = convolution.groups == convolution.in_channels == convolution.out_channels
    return is_plain and is_depthwise and (stride[0] > 1 or kernel[0] >= SLOW_KERNEL)


class _Forward:
    """Replaces a convolution's own ``_conv_forward``."""

    def __init__(self, stride: int, padding: int) -> None:
        self.stride, self.padding = stride, padding

    def __call__(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        if not torch.is_autocast_enabled("cpu"):
            return F.conv2d(input, weight, bias, self.stride, self.padding, groups=len(weight))
        convolved: Tensor = DepthwiseConvolution.apply(input, weight, self.stride, self.padding)
        return convolved


class DepthwiseConvolution(torch.autograd.Function):
    """``conv2d`` of ``(B, C, H, W)`` with ``(C, 1, K, K)``, one group per channel, without bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """Return ``(B, C, H', W')``, bfloat16."""
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of input and weight."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        arguments = (gradient, x, weight, ctx.stride, ctx.padding)
        of_x = _gradient_of_input(*arguments) if wants_x else None
        return of_x, _gradient_of_weight(*arguments) if wants_weight else None, None, None


def _gradient_of_input(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    if stride == 1:
        return _native(gradient, x, weight, stride, padding, (True, False))[0]
    # A transposed convolution: spread the gradient with zeros in the positions that the stride
    # skips, then convolve it forward with the flipped kernel.
    kernel = weight.shape[2]
    step = _pictures_at_once(x)
    height, width = (side + 2 * padding - kernel + 1 for side in x.shape[2:])
    spread = torch.zeros((step, height, width, len(weight)), dtype=x.dtype).permute(0, 3, 1, 2)
    turned = weight.flip(2, 3)
    result = torch.empty_like(x, memory_format=torch.channels_last)
    for start in range(0, len(x), step):
        part = gradient[start : start + step]
        spread[: len(part), :, ::stride, ::stride] = part
        result[start : start + step] = F.conv2d(
            spread[: len(part)], turned, None, 1, kernel - 1 - padding, groups=len(weight)
        )
    return result


def _gradient_of_weight(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    if weight.shape[2] < SLOW_KERNEL:
        return _native(gradient, x, weight, stride, padding, (False, True))[1]
    step, wide = _pictures_at_once(x), weight.float()
    total = torch.zeros_like(wide)
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        own = (gradient[part].float(), x[part].float(), wide)
        total += _native(*own, stride, padding, (False, True))[1]
    return total


def _pictures_at_once(x: Tensor) -> int:
    return max(1, min(len(x), CHUNK * len(x) // max(1, x.numel())))


def _native(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Return the wanted gradients of input and weight, as computed by torch."""
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0],
        len(weight), [*wanted, False],
    )  # fmt: skip
    return of_x, of_weight
