"""Bodies that look at the picture: one map for each stride."""

from collections.abc import Sequence
from typing import Any, Final, cast

import timm
import torch
import torchvision
from timm.layers.format import Format
from timm.models import FeatureInfo
from torch import Tensor, nn

from head_detection.config import BackboneConfig
from head_detection.errors import ConfigError
from head_detection.models.mobilenet import MobileNetV1
from head_detection.models.pretrained import load_body

PROBE_SIZE = 128
PROBED_SIZE: Final = (160, 96)
"""Of a picture that no network has as its own size: multiples of 32."""
FOR_ANY_SIZE: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"strict_img_size": False},
    {"dynamic_img_size": True},
)
"""What timm's networks of one size call leave to take any: those of windows, those of patches."""
TORCHVISION_BODIES = ("resnet", "mobilenet_v")
RESNET_STEPS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class SteppedBody(nn.Module):
    """A network run module by module; the last map of each stride is handed on.

    Args:
        network: a body whose modules ``steps`` run one after the other.
        steps: dotted names of those modules, in order.
        max_stride: modules after the last map of this stride are dropped.

    Attributes:
        strides: of the maps, finest first, in pixels of the picture.
        channels: of the maps.
    """

    def __init__(self, network: nn.Module, steps: Sequence[str], max_stride: int) -> None:
        super().__init__()
        taps = _last_map_of_each_stride(network, steps)
        wanted = {stride: tap for stride, tap in taps.items() if stride <= max_stride}
        self._steps = list(steps)[: max(index for index, _ in wanted.values()) + 1]
        self._taps = {self._steps[index] for index, _ in wanted.values()}
        self.strides = tuple(wanted)
        self.channels = tuple(channels for _, channels in wanted.values())
        roots = {step.partition(".")[0] for step in self._steps}
        for name, module in network.named_children():
            if name in roots:
                self.add_module(name, module)
        self._drop_unused()

    def _drop_unused(self) -> None:
        for name, module in self.named_children():
            if name in self._steps:
                continue
            for child in [child for child, _ in module.named_children()]:
                if f"{name}.{child}" not in self._steps:
                    delattr(module, child)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` for each of ``strides``, of ``(B, 3, H, W)``."""
        maps, features = [], images
        for step in self._steps:
            features = self.get_submodule(step)(features)
            if step in self._taps:
                maps.append(features)
        return maps


class TimmBody(nn.Module):
    """Any timm network that gives features.

    Attributes:
        strides: of the maps, finest first, in pixels of the picture.
        channels: of the maps.

    Raises:
        ConfigError: timm has no such network, it gives no maps, or it takes pictures of one size.
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
        self.strides = tuple(_feature_info(self.network).reduction())
        self.channels = tuple(_feature_info(self.network).channels())
        self._has_channels_last = getattr(self.network, "output_fmt", None) == Format.NHWC

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` for each of ``strides``, of ``(B, 3, H, W)``."""
        maps: list[Tensor] = self.network(images)
        return [level.permute(0, 3, 1, 2) for level in maps] if self._has_channels_last else maps


@torch.no_grad()
def _options_for_any_size(name: str) -> dict[str, Any]:
    """Return what makes a timm network take pictures of any size; most need nothing.

    Raises:
        ConfigError: nothing does.
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


def build_body(config: BackboneConfig) -> SteppedBody | TimmBody:
    """Build the body that the config names and load it where the config says from what.

    Raises:
        ConfigError: timm does not know it, or what it was to download cannot be had.
        WeightsError: its weights cannot be read or do not fit.
    """
    try:
        body = _create_body(config)
    except OSError as error:  # the libraries' errors of downloading
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"network.backbone.pretrained: {config.name} cannot be downloaded here ({reason}); "
            "give the path of its weights, or false"
        ) from error
    if isinstance(config.pretrained, str):
        load_body(body, config.pretrained)
    return body


def _create_body(config: BackboneConfig) -> SteppedBody | TimmBody:
    max_stride, download = max(config.strides), config.pretrained is True
    if config.name == "mobilenet0.25":
        return SteppedBody(*_mobilenet_v1(config), max_stride)
    if not config.name.startswith(TORCHVISION_BODIES):
        return TimmBody(config.name.removeprefix("timm/"), max_stride, pretrained=download)
    network = torchvision.models.get_model(config.name, weights="DEFAULT" if download else None)
    if config.name.startswith("resnet"):
        return SteppedBody(network, RESNET_STEPS, max_stride)
    steps = [f"features.{index}" for index in range(len(network.features))]
    return SteppedBody(network, steps, max_stride)


def _mobilenet_v1(config: BackboneConfig) -> tuple[MobileNetV1, list[str]]:
    if config.pretrained is True:
        raise ConfigError(
            "network.backbone.pretrained: mobilenet0.25 has no library to download from; "
            "give the path of its weights"
        )
    network = MobileNetV1(config.mobilenet_stem, config.negative_slope)
    steps = [
        f"{stage}.{index}"
        for stage, blocks in network.named_children()
        for index in range(len(list(blocks.children())))
    ]
    return network, steps


def _feature_info(network: nn.Module) -> FeatureInfo:
    return cast("FeatureInfo", network.feature_info)


@torch.no_grad()
def _last_map_of_each_stride(
    network: nn.Module, steps: Sequence[str]
) -> dict[int, tuple[int, int]]:
    """Return ``{stride: (index of the step, channels)}`` by running a small picture through."""
    network.eval()
    features = torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE)
    taps = {}
    for index, step in enumerate(steps):
        features = network.get_submodule(step)(features)
        # HeadHunter's stem leaves a pixel more than half, so the nearest power of two is meant.
        stride = 2 ** round(torch.log2(torch.tensor(PROBE_SIZE / features.shape[-1])).item())
        taps[stride] = (index, features.shape[1])
    network.train()
    return taps
