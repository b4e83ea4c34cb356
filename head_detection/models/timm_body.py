"""Bodies from timm, in a module of their own because timm takes seconds to import."""

from typing import Any, Final, cast

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.format import Format
from timm.models import FeatureInfo
from torch import Tensor, nn

from head_detection.errors import ConfigError
from head_detection.models.bodies import Body
from head_detection.models.convolution import SameConv2d, made_of

PROBED_SIZE: Final = (160, 96)
"""Multiples of 32 that are no network's fixed input size."""
FOR_ANY_SIZE: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"strict_img_size": False},
    {"dynamic_img_size": True},
)
"""timm's options to accept any picture size: for most networks, window- and patch-based ones."""


class TimmBody(Body):
    """Any timm network that returns feature maps.

    Args:
        name: timm's name of the network.
        max_stride: maps of larger strides are not computed.
        pretrained: download timm's weights.

    Raises:
        ConfigError: timm has no such network, it has no feature maps, or its input size is fixed.
    """

    def __init__(self, name: str, max_stride: int, *, pretrained: bool) -> None:
        super().__init__()
        try:
            options = {"features_only": True, "pretrained": pretrained} | _options_for_any_size(
                name
            )
            self.network = timm.create_model(name, **options)
            reductions = _feature_info(self.network).reduction()
            last = max(index for index, stride in enumerate(reductions) if stride <= max_stride)
            if last + 1 < len(reductions):
                self.network = timm.create_model(name, **options, out_indices=range(last + 1))
        except ConfigError:
            raise
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                "network.backbone.name: expected a timm network that gives features; "
                f"{name}: {reason}"
            ) from error
        _take_over_padding(self.network)
        self.strides = tuple(_feature_info(self.network).reduction())
        self.channels = tuple(_feature_info(self.network).channels())
        self._has_channels_last = getattr(self.network, "output_fmt", None) == Format.NHWC

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` for each of ``strides``, of ``(B, 3, H, W)``."""
        maps: list[Tensor] = self.network(images)
        return [level.permute(0, 3, 1, 2) for level in maps] if self._has_channels_last else maps


@torch.no_grad()
def _options_for_any_size(name: str) -> dict[str, Any]:
    """Return the options that make a timm network accept any picture size; most need none.

    Raises:
        ConfigError: no options do.
    """
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if known is None or not known.fixed_input_size:
        return {}
    for options in FOR_ANY_SIZE:
        try:
            network = timm.create_model(name, features_only=True, pretrained=False, **options)
            network.eval()(torch.zeros(1, 3, *PROBED_SIZE))
        except (RuntimeError, ValueError, TypeError, AssertionError):
            continue
        return options
    size = "x".join(map(str, known.input_size[1:]))
    raise ConfigError(
        f"network.backbone.name: expected a network that takes pictures of any size; {name} takes "
        f"{size} alone: choose another of timm's, such as convnext_tiny or pvt_v2_b0"
    )


def download(name: str) -> dict[str, Tensor]:
    """Return timm's pretrained weights of a network, by timm's names.

    Raises:
        OSError: they cannot be downloaded.
    """
    weights: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    return weights


def _take_over_padding(network: nn.Module) -> None:
    """Replace timm's convolutions that have TensorFlow's padding with this project's."""
    for name, theirs in list(network.named_modules()):
        if type(theirs) is Conv2dSame:
            network.set_submodule(name, made_of(SameConv2d, theirs))


def _feature_info(network: nn.Module) -> FeatureInfo:
    return cast("FeatureInfo", network.feature_info)
