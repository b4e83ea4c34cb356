"""Bodies that look at the picture, and the pyramid on them."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import timm
import torch
import torchvision
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from head_detection.config import BackboneConfig, ConfigError
from head_detection.models.context import build_contexts
from head_detection.models.fpn import build_fpn
from head_detection.models.mobilenet import MobileNetV1
from head_detection.models.pretrained import load_body

PROBE_SIZE = 128
POOLED_STRIDE = 64
"""Made by pooling the level before it, as torchvision does, where the body stops at 32."""


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
        ConfigError: timm has no such network, or it gives no maps.
    """

    def __init__(self, name: str, max_stride: int, *, pretrained: bool) -> None:
        super().__init__()
        try:
            self.network = timm.create_model(name, features_only=True, pretrained=pretrained)
            reductions = _feature_info(self.network).reduction()
            last = max(index for index, stride in enumerate(reductions) if stride <= max_stride)
            if last + 1 < len(reductions):
                self.network = timm.create_model(
                    name, features_only=True, pretrained=pretrained, out_indices=range(last + 1)
                )
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                "model.backbone.name: expected a timm network that gives features; "
                f"{name}: {reason}"
            ) from error
        self.strides = tuple(_feature_info(self.network).reduction())
        self.channels = tuple(_feature_info(self.network).channels())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` for each of ``strides``, of ``(B, 3, H, W)``."""
        maps: list[Tensor] = self.network(images)
        return maps


class BackBoneWithFPN(nn.Module):
    """A body, a pyramid on it, and a context module on each level where the config asks for it.

    Attributes:
        strides: of the pyramid's levels in pixels, finest first.
        out_channels: of every level.

    Raises:
        ConfigError: the body has no map of a stride that the config names.
    """

    def __init__(self, body: SteppedBody | TimmBody, config: BackboneConfig) -> None:
        super().__init__()
        self.body = body
        self.strides = config.strides
        self.out_channels = config.fpn_width
        self._pool = POOLED_STRIDE in config.strides and POOLED_STRIDE not in body.strides
        from_body = config.strides[:-1] if self._pool else config.strides
        missing = [stride for stride in from_body if stride not in body.strides]
        if missing or not from_body or (self._pool and from_body[-1] != POOLED_STRIDE // 2):
            raise ConfigError(
                f"model.backbone.strides: {config.name} gives {', '.join(map(str, body.strides))} "
                f"(and 64 after 32); got {', '.join(map(str, config.strides))}"
            )
        self._picked = [body.strides.index(stride) for stride in from_body]
        self.fpn = build_fpn(config, [body.channels[index] for index in self._picked])
        self.contexts = build_contexts(config, len(config.strides))
        self._frozen_norms: list[nn.Module] = []

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Return ``{stride: (B, out_channels, H/stride, W/stride)}``, finest first."""
        maps = self.body(images)
        levels = self.fpn([maps[index] for index in self._picked])
        if self._pool:
            levels.append(nn.functional.max_pool2d(levels[-1], kernel_size=1, stride=2))
        if self.contexts is not None:
            levels = [context(level) for context, level in zip(self.contexts, levels, strict=True)]
        return OrderedDict((str(s), level) for s, level in zip(self.strides, levels, strict=True))

    def freeze(self, *, frozen_stages: int = 0, frozen_batch_norm: bool = False) -> None:
        """Stop the body's first stages, or all of its batch norms, from learning.

        Args:
            frozen_stages: all that the body's first so many maps are made with (ResNet: 1 is the
                stem, 2 adds ``layer1``); 0 is none.
            frozen_batch_norm: batch norms of the body keep statistics, scale and shift.

        Raises:
            ConfigError: the body has fewer stages.
        """
        if frozen_stages > len(self.body.strides):
            raise ConfigError(
                f"training.frozen_stages: expected at most {len(self.body.strides)} for this body; "
                f"got {frozen_stages}"
            )
        frozen = self._parameters_of_stages(frozen_stages) if frozen_stages else set()
        for module in self.body.modules():
            own = list(module.parameters(recurse=False))
            is_norm = isinstance(module, _BatchNorm)
            if own and (all(p in frozen for p in own) or (is_norm and frozen_batch_norm)):
                for parameter in own:
                    parameter.requires_grad = False
                if is_norm:
                    self._frozen_norms.append(module)
        self.train(self.training)

    def _parameters_of_stages(self, count: int) -> set[nn.Parameter]:
        """Ask autograd what a map depends on: this holds for bodies of any layout."""
        parameters = list(self.body.parameters())
        was_training = self.body.training
        self.body.eval()
        sample = torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE, device=parameters[0].device)
        with torch.enable_grad():
            total = self.body(sample)[count - 1].sum()
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        self.body.train(was_training)
        pairs = zip(parameters, gradients, strict=True)
        return {parameter for parameter, gradient in pairs if gradient is not None}

    def train(self, mode: bool = True) -> "BackBoneWithFPN":
        """Switch to training or evaluation; frozen batch norms stay in evaluation."""
        super().train(mode)
        for module in self._frozen_norms:
            module.eval()
        return self


def create_backbone(config: BackboneConfig) -> BackBoneWithFPN:
    """Build the body, load it where the config says from what, and put the pyramid on it.

    Raises:
        ConfigError: the body lacks a stride, or timm does not know it.
        WeightsError: its weights cannot be read or do not fit.

    Example:
        >>> backbone = create_backbone(BackboneConfig(name="resnet18", fpn_width=64))
        >>> levels = backbone(torch.zeros(1, 3, 64, 96))
        >>> {stride: tuple(level.shape[1:]) for stride, level in levels.items()}
        {'4': (64, 16, 24), '8': (64, 8, 12), '16': (64, 4, 6), '32': (64, 2, 3)}
    """
    max_stride = max(config.strides)
    download = config.pretrained is True
    body: SteppedBody | TimmBody
    if config.name.startswith("resnet"):
        network = torchvision.models.get_model(config.name, weights="DEFAULT" if download else None)
        steps = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        body = SteppedBody(network, steps, max_stride)
    elif config.name in ("mobilenet_v2", "mobilenet_v3_large"):
        network = torchvision.models.get_model(config.name, weights="DEFAULT" if download else None)
        steps = [f"features.{index}" for index in range(len(network.features))]
        body = SteppedBody(network, steps, max_stride)
    elif config.name == "mobilenet0.25":
        if download:
            raise ConfigError(
                "model.backbone.pretrained: mobilenet0.25 has no library to download from; "
                "give the path of its weights"
            )
        mobilenet = MobileNetV1(config.mobilenet_stem, config.negative_slope)
        steps = [
            f"{stage}.{index}"
            for stage, blocks in mobilenet.named_children()
            for index in range(len(list(blocks.children())))
        ]
        body = SteppedBody(mobilenet, steps, max_stride)
    else:
        body = TimmBody(config.name.removeprefix("timm/"), max_stride, pretrained=download)
    if isinstance(config.pretrained, str):
        load_body(body, config.pretrained)
    return BackBoneWithFPN(body, config)


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
