"""Context modules, which widen the receptive field on each pyramid level."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from head_detection.config import BackboneConfig
from head_detection.errors import ConfigError
from head_detection.models.convolution import conv_bn

CPM_EXPANSION = 4
"""PyramidBox widens 256 channels to 1024."""


class SSH(nn.Module):
    """Three parallel receptive fields: 3x3 with half of the width, 5x5 and 7x7 with a quarter each.

    Args:
        channels: channels of the input and output map.
        width: total width of the branches; a 1x1 projection follows if it is not ``channels``.
        kernels: ``stacked`` 3x3 convolutions, or ``large`` 5x5 and 7x7 kernels.
        negative_slope: slope of the inner LeakyReLU; 0 is ReLU.

    Source:
        Najibi et al., SSH: Single Stage Headless Face Detector, ICCV 2017, section 3.3.
    """

    def __init__(self, channels: int, width: int, kernels: str, negative_slope: float) -> None:
        super().__init__()
        if width % 4:
            raise ConfigError(
                f"network.backbone.context_width: SSH needs a multiple of 4; got {width}"
            )
        five, seven = (3, 3) if kernels == "stacked" else (5, 7)
        quarter = width // 4
        self.conv3 = self._branch3(channels, width // 2)
        self.conv5_1 = conv_bn(channels, quarter, five, negative_slope=negative_slope)
        self.conv5_2 = conv_bn(quarter, quarter, five)
        self.conv7_2 = conv_bn(quarter, quarter, seven, negative_slope=negative_slope)
        self.conv7_3 = conv_bn(quarter, quarter, seven)
        self.project = nn.Identity() if width == channels else conv_bn(width, channels, 1)

    def _branch3(self, inputs: int, outputs: int) -> nn.Module:
        return conv_bn(inputs, outputs, 3)

    def forward(self, features: Tensor) -> Tensor:
        """Return a map of the same shape as ``features``, ``(B, channels, H, W)``."""
        shared = self.conv5_1(features)
        branches = (self.conv3(features), self.conv5_2(shared), self.conv7_3(self.conv7_2(shared)))
        return F.relu(self.project(torch.cat(branches, dim=1)))


class DeformSSH(SSH):
    """SSH whose 3x3 branch is a modulated deformable convolution."""

    def _branch3(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(DeformConvolution(inputs, outputs), nn.BatchNorm2d(outputs))


class DeformConvolution(nn.Module):
    """A 3x3 convolution that learns where and how strongly to sample.

    Offsets start at zero and the mask at one half, so it starts as half a plain convolution.

    Source:
        Zhu et al., Deformable ConvNets v2, CVPR 2019.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.offset = nn.Conv2d(inputs, 2 * 9, 3, padding=1)
        self.mask = nn.Conv2d(inputs, 9, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.mask.weight)
        for bias in (self.offset.bias, self.mask.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, outputs, H, W)`` float32 for ``(B, inputs, H, W)``."""
        # bfloat16 is too imprecise for positions, and torchvision has no such kernel on CPU.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            sampled: Tensor = deform_conv2d(
                features,
                self.offset(features),
                self.conv.weight,
                padding=1,
                mask=torch.sigmoid(self.mask(features)),
            )
        return sampled


class CPM(nn.Module):
    """PyramidBox's context-sensitive prediction module: a wide residual block, then SSH.

    Args:
        channels: channels of the input and output map.
        width: width of the residual block; PyramidBox and HeadHunter use 1024 for 256 channels.

    Source:
        Tang et al., PyramidBox, ECCV 2018, section 3.2, as HeadHunter builds it.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch1 = conv_bn(channels, width, 1)
        self.branch2a = conv_bn(channels, channels, 1, negative_slope=0)
        self.branch2b = conv_bn(channels, channels, 3, negative_slope=0)
        self.branch2c = conv_bn(channels, width, 1)
        self.ssh_1 = nn.Conv2d(width, channels, 3, padding=1)
        self.ssh_dimred = nn.Conv2d(width, half, 3, padding=1)
        self.ssh_2 = nn.Conv2d(half, half, 3, padding=1)
        self.ssh_3a = nn.Conv2d(half, half, 3, padding=1)
        self.ssh_3b = nn.Conv2d(half, half, 3, padding=1)
        self.ssh_final = conv_bn(channels + 2 * half, channels, 1, negative_slope=0)

    def forward(self, features: Tensor) -> Tensor:
        """Return a map of the same shape as ``features``, ``(B, channels, H, W)``."""
        residual = self.branch2c(self.branch2b(self.branch2a(features)))
        wide = F.relu(self.branch1(features) + residual)
        reduced = F.relu(self.ssh_dimred(wide))
        deep = self.ssh_3b(F.relu(self.ssh_3a(reduced)))
        merged: Tensor = self.ssh_final(torch.cat((self.ssh_1(wide), self.ssh_2(reduced), deep), 1))
        return merged


def build_contexts(config: BackboneConfig, num_levels: int) -> nn.ModuleList | None:
    """Return one context module per pyramid level, or None if the config names none."""
    if config.context == "none":
        return None
    channels = config.fpn_width
    build: Callable[[], nn.Module]
    if config.context == "cpm":
        width = config.context_width or CPM_EXPANSION * channels
        build = lambda: CPM(channels, width)  # noqa: E731 - one builder, three choices
    else:
        module = SSH if config.context == "ssh" else DeformSSH
        width = config.context_width or channels
        build = lambda: module(channels, width, config.ssh_kernels, config.negative_slope)  # noqa: E731
    return nn.ModuleList(build() for _ in range(num_levels))
