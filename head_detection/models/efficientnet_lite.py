"""EfficientNet-Lite with the same tensor names and outputs as timm's ``tf_`` variant.

timm itself would import all its networks and PyTorch's compiler, which costs two seconds and 150 MB
in every process that detects with the shipped weights.
"""

import math
from typing import Final, NamedTuple

from torch import Tensor, nn

from head_detection.config.network import PUBLISHED_EXPANSION
from head_detection.models.convolution import same_convolution

MULTIPLIERS: Final = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
    "tf_efficientnet_lite3": (1.2, 1.4),
    "tf_efficientnet_lite4": (1.4, 1.8),
}
"""Multipliers of the channels and of the blocks per stage, by timm's name."""
STEM_CHANNELS: Final = 32
NORM_EPSILON: Final = 1e-3
"""TensorFlow's value."""
CHANNEL_STEP: Final = 8
LEAST_CHANNELS: Final = 0.9
"""Rounding may not go below this share of the exact number of channels."""


class Stage(NamedTuple):
    """Blocks of one resolution; the first of them has the stride.

    Attributes:
        blocks: number of blocks.
        kernel: side of their depthwise convolutions' kernels.
        stride: stride of the first block.
        channels: output channels of each block.
    """

    blocks: int
    kernel: int
    stride: int
    channels: int


STAGES: Final = (
    Stage(1, 3, 1, 16),
    Stage(2, 3, 2, 24),
    Stage(2, 5, 2, 40),
    Stage(3, 3, 2, 80),
    Stage(3, 5, 1, 112),
    Stage(4, 5, 2, 192),
    Stage(1, 3, 1, 320),
)


class EfficientNetLite(nn.Module):
    """The body only: no pooling, no classifier.

    Args:
        name: one of ``MULTIPLIERS``.
        max_stride: stages after the last map of this stride are left out.
        expansion: channels inside an inverted residual, as a multiple of those at its input.

    Attributes:
        strides: strides of the maps in input pixels, finest first.
        channels: channels of the maps.

    ReLU6 does not work in place: its gradient needs its input, which training would copy.

    Source:
        Tan and Le, EfficientNet, ICML 2019, without squeeze-and-excitation and with ReLU6, as in
        tensorflow/tpu's ``efficientnet/lite``.
    """

    def __init__(
        self, name: str, max_stride: int = 32, expansion: int = PUBLISHED_EXPANSION
    ) -> None:
        super().__init__()
        stages = _scaled(*MULTIPLIERS[name])
        self.conv_stem = same_convolution(3, STEM_CHANNELS, 3, stride=2)
        self.bn1 = _norm(STEM_CHANNELS)
        self.act = nn.ReLU6()
        self.blocks = nn.Sequential()
        inputs, stride = STEM_CHANNELS, 2
        last: dict[int, tuple[int, int]] = {}
        for number, stage in enumerate(stages):
            stride *= stage.stride
            if stride > max_stride:
                break
            self.blocks.append(_build_stage(stage, inputs, expansion, is_first=number == 0))
            inputs = stage.channels
            last[stride] = (number, inputs)
        self.strides = tuple(last)
        self.channels = tuple(channels for _, channels in last.values())
        self._taps = {number for number, _ in last.values()}
        self.apply(_initialize)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` for each of ``strides``, of ``(B, 3, H, W)``."""
        features, maps = self.act(self.bn1(self.conv_stem(images))), []
        for number, stage in enumerate(self.blocks):
            features = stage(features)
            if number in self._taps:
                maps.append(features)
        return maps


class SeparableBlock(nn.Module):
    """A depthwise convolution and a 1x1 convolution.

    Args:
        inputs: channels in.
        stage: gives the kernel and the output channels.
    """

    def __init__(self, inputs: int, stage: Stage) -> None:
        super().__init__()
        self.conv_dw = same_convolution(inputs, inputs, stage.kernel, groups=inputs)
        self.bn1, self.act = _norm(inputs), nn.ReLU6()
        self.conv_pw = same_convolution(inputs, stage.channels, 1)
        self.bn2 = _norm(stage.channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, channels, H, W)`` for ``(B, inputs, H, W)``."""
        seen = self.act(self.bn1(self.conv_dw(features)))
        made: Tensor = self.bn2(self.conv_pw(seen))
        return made


class InvertedResidual(nn.Module):
    """An expansion, a depthwise convolution and a projection, added to the input.

    Args:
        inputs: channels in.
        stage: gives the kernel and the output channels.
        stride: stride of the depthwise convolution. The input is added only if this is 1 and the
            number of channels stays the same.
        expansion: channels inside, as a multiple of ``inputs``.
    """

    def __init__(self, inputs: int, stage: Stage, stride: int, expansion: int) -> None:
        super().__init__()
        inner = _rounded(inputs * expansion)
        self.conv_pw, self.bn1 = same_convolution(inputs, inner, 1), _norm(inner)
        self.act1 = nn.ReLU6()
        self.conv_dw = same_convolution(inner, inner, stage.kernel, stride=stride, groups=inner)
        self.bn2, self.act2 = _norm(inner), nn.ReLU6()
        self.conv_pwl, self.bn3 = same_convolution(inner, stage.channels, 1), _norm(stage.channels)
        self.is_added = stride == 1 and inputs == stage.channels

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, channels, H', W')`` for ``(B, inputs, H, W)``."""
        made: Tensor = self.bn3(self.conv_pwl(self.expand(features)))
        return made + features if self.is_added else made

    def expand(self, features: Tensor) -> Tensor:
        """Return ``(B, inner, H', W')``, the input of the projection."""
        seen = self.act1(self.bn1(self.conv_pw(features)))
        expanded: Tensor = self.act2(self.bn2(self.conv_dw(seen)))
        return expanded


def _scaled(width: float, depth: float) -> list[Stage]:
    """Return the scaled stages; the first and the last always have one block."""
    last = len(STAGES) - 1
    return [
        stage._replace(
            blocks=stage.blocks if number in (0, last) else math.ceil(stage.blocks * depth),
            channels=_rounded(stage.channels * width),
        )
        for number, stage in enumerate(STAGES)
    ]


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8 that is at least nine tenths of ``channels``.

    Example:
        >>> [_rounded(channels) for channels in (3, 17.6, 26.4, 123.2)]
        [8, 16, 24, 120]
    """
    step = CHANNEL_STEP
    nearest = max(step, int(channels + step / 2) // step * step)
    return nearest + step if nearest < LEAST_CHANNELS * channels else nearest


def _build_stage(stage: Stage, inputs: int, expansion: int, *, is_first: bool) -> nn.Sequential:
    if is_first:
        return nn.Sequential(SeparableBlock(inputs, stage))
    blocks = [InvertedResidual(inputs, stage, stage.stride, expansion)]
    blocks += [
        InvertedResidual(stage.channels, stage, 1, expansion) for _ in range(stage.blocks - 1)
    ]
    return nn.Sequential(*blocks)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON)


def _initialize(module: nn.Module) -> None:
    """Initialise a convolution as TensorFlow's implementation does: normal, scaled by fan-out."""
    if isinstance(module, nn.Conv2d):
        outputs = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / outputs))
