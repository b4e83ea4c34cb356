"""Feature pyramids, which turn the body's maps into maps of equal width."""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from head_detection.config import BackboneConfig
from head_detection.models.convolution import conv_bn


class TopDownFPN(FeaturePyramidNetwork):
    """torchvision's pyramid on a plain list of maps, finest first.

    Source:
        Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017.
    """

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return ``(B, width, H_i, W_i)`` for each ``(B, C_i, H_i, W_i)``."""
        named = OrderedDict((str(level), features) for level, features in enumerate(maps))
        return list(super().forward(named).values())


class LightFPN(nn.Module):
    """A top-down pyramid with 1x1 convolutions on the way down in place of 3x3 ones at its outputs.

    The output convolution of the finest level alone is a sixth of the multiplications of a small
    detector. What it does to the channels, the laterals and the 1x1 convolutions can do as well, at
    a quarter of the pixels; the proposal network has a 3x3 convolution of its own.

    Args:
        in_channels: channels of the body's maps, finest first.
        width: channels out.
    """

    def __init__(self, in_channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in in_channels)
        self.downs = nn.ModuleList(nn.Conv2d(width, width, 1, bias=False) for _ in in_channels[1:])
        for convolution in self.modules():
            if isinstance(convolution, nn.Conv2d):  # as torchvision's pyramid
                nn.init.kaiming_uniform_(convolution.weight, a=1)
                if convolution.bias is not None:
                    nn.init.zeros_(convolution.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return ``(B, width, H_i, W_i)`` for each ``(B, C_i, H_i, W_i)``."""
        outputs = [self.laterals[-1](maps[-1])]
        for level in reversed(range(len(self.downs))):
            fine = self.laterals[level](maps[level])
            coarse = self.downs[level](outputs[0])
            outputs.insert(0, fine + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest"))
        return outputs


class RetinaFaceFPN(nn.Module):
    """RetinaFace's pyramid: batch norm on every convolution, the coarsest map not merged.

    Args:
        in_channels: channels of the body's maps, finest first.
        width: channels out.
        negative_slope: slope of LeakyReLU; 0 is ReLU.

    Source:
        Deng et al., RetinaFace, CVPR 2020, as biubug6/Pytorch_Retinaface and HeadHunter build it
        for three levels; this takes any number of levels.
    """

    def __init__(self, in_channels: Sequence[int], width: int, negative_slope: float) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            conv_bn(channels, width, 1, negative_slope=negative_slope) for channels in in_channels
        )
        self.merges = nn.ModuleList(
            conv_bn(width, width, 3, negative_slope=negative_slope) for _ in in_channels[1:]
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return ``(B, width, H_i, W_i)`` for each ``(B, C_i, H_i, W_i)``."""
        outputs = [lateral(features) for lateral, features in zip(self.laterals, maps, strict=True)]
        for level in reversed(range(len(self.merges))):
            coarse = F.interpolate(
                outputs[level + 1], size=outputs[level].shape[-2:], mode="nearest"
            )
            outputs[level] = self.merges[level](outputs[level] + coarse)
        return outputs


def build_fpn(config: BackboneConfig, in_channels: Sequence[int]) -> nn.Module:
    """Return the pyramid that the config names, for maps of these channels, finest first."""
    if config.fpn == "retinaface":
        return RetinaFaceFPN(in_channels, config.fpn_width, config.negative_slope)
    if config.fpn == "light":
        return LightFPN(in_channels, config.fpn_width)
    return TopDownFPN(list(in_channels), config.fpn_width)
