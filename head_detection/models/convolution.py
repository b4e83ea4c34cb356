"""A convolution with batch norm: the brick of MobileNet, RetinaFace's pyramid and the contexts."""

from torch import nn


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
