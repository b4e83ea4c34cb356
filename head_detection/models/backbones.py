"""Backbones: a body with a feature pyramid."""

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from head_detection.config import BackboneConfig
from head_detection.errors import ConfigError
from head_detection.models.bodies import PROBE_SIZE, Body, LiteBody, SteppedBody
from head_detection.models.context import build_contexts
from head_detection.models.efficientnet_lite import MULTIPLIERS
from head_detection.models.fpn import build_fpn
from head_detection.models.mobilenet import MobileNetV1
from head_detection.models.pretrained import load_body

TORCHVISION_BODIES = ("resnet", "mobilenet_v")
RESNET_STEPS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
POOLED_STRIDE = 64
"""If the body stops at stride 32, this level is pooled from that one, as in torchvision."""


class BackBoneWithFPN(nn.Module):
    """A body, a pyramid, and a context module on each level if the config names one.

    Attributes:
        strides: strides of the pyramid's levels in pixels, finest first.
        out_channels: channels of every level.
        feature_channels: channels of the body's maps that the pyramid takes, by stride.

    Raises:
        ConfigError: the config names a stride that the body does not provide.
    """

    def __init__(self, body: Body, config: BackboneConfig) -> None:
        super().__init__()
        self.body = body
        self.strides = config.strides
        self.out_channels = config.fpn_width
        self._pool = POOLED_STRIDE in config.strides and POOLED_STRIDE not in body.strides
        from_body = config.strides[:-1] if self._pool else config.strides
        missing = [stride for stride in from_body if stride not in body.strides]
        if missing or not from_body or (self._pool and from_body[-1] != POOLED_STRIDE // 2):
            raise ConfigError(
                f"network.backbone.strides: {config.name} gives "
                f"{', '.join(map(str, body.strides))} (and 64 after 32); "
                f"got {', '.join(map(str, config.strides))}"
            )
        self._picked = [body.strides.index(stride) for stride in from_body]
        channels = [body.channels[index] for index in self._picked]
        self.feature_channels = dict(zip(from_body, channels, strict=True))
        self.fpn = build_fpn(config, channels)
        self.contexts = build_contexts(config, len(config.strides))
        self._frozen_norms: list[nn.Module] = []

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Return ``{stride: (B, out_channels, H/stride, W/stride)}``, finest first."""
        return self.levels(self.features(images))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the body's maps that the pyramid takes, finest first."""
        maps = self.body(images)
        return [maps[index] for index in self._picked]

    def levels(self, features: list[Tensor]) -> OrderedDict[str, Tensor]:
        """Return what ``forward`` returns, of the body's maps."""
        levels = self.fpn(features)
        if self._pool:
            levels.append(nn.functional.max_pool2d(levels[-1], kernel_size=1, stride=2))
        if self.contexts is not None:
            levels = [context(level) for context, level in zip(self.contexts, levels, strict=True)]
        return OrderedDict((str(s), level) for s, level in zip(self.strides, levels, strict=True))

    def freeze(
        self,
        *,
        frozen_stages: int = 0,
        frozen_batch_norm: bool = False,
        everything: bool = False,
    ) -> None:
        """Freeze the body's first stages, all of its batch norms, or everything.

        Args:
            frozen_stages: freeze everything that this many first maps of the body depend on
                (ResNet: 1 is the stem, 2 adds ``layer1``); 0 freezes nothing.
            frozen_batch_norm: batch norms of the body keep statistics, scale and shift.
            everything: nothing of the body, the pyramid and the context learns.

        Raises:
            ConfigError: the body has fewer stages.
        """
        if frozen_stages > len(self.body.strides):
            raise ConfigError(
                f"training.frozen_stages: expected at most {len(self.body.strides)} for this body; "
                f"got {frozen_stages}"
            )
        frozen = self._parameters_of_stages(frozen_stages) if frozen_stages else set()
        for module in (self if everything else self.body).modules():
            own = list(module.parameters(recurse=False))
            is_norm = isinstance(module, _BatchNorm)
            is_kept = everything or all(p in frozen for p in own) or (is_norm and frozen_batch_norm)
            if own and is_kept:
                for parameter in own:
                    parameter.requires_grad = False
                if is_norm:
                    self._frozen_norms.append(module)
        self.train(self.training)

    def _parameters_of_stages(self, count: int) -> set[nn.Parameter]:
        """Find the parameters of a map with autograd, which works for bodies of any layout."""
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
        """Switch to training or evaluation mode; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_norms:
            module.eval()
        return self


def create_backbone(config: BackboneConfig) -> BackBoneWithFPN:
    """Build the body with its pretrained weights, if any, and add the pyramid.

    Raises:
        ConfigError: the body lacks a stride, timm does not know it, or a download failed.
        WeightsError: its weights cannot be read or do not fit.

    Example:
        >>> backbone = create_backbone(BackboneConfig(name="resnet18", fpn_width=64))
        >>> levels = backbone(torch.zeros(1, 3, 64, 96))
        >>> {stride: tuple(level.shape[1:]) for stride, level in levels.items()}
        {'4': (64, 16, 24), '8': (64, 8, 12), '16': (64, 4, 6), '32': (64, 2, 3)}
    """
    return BackBoneWithFPN(build_body(config), config)


def build_body(config: BackboneConfig) -> Body:
    """Build the body that the config names and load its pretrained weights, if any.

    Raises:
        ConfigError: timm does not know it, or its weights cannot be downloaded.
        WeightsError: its weights cannot be read or do not fit.
    """
    try:
        body = _create_body(config)
    except OSError as error:  # the libraries' download errors
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"network.backbone.pretrained: {config.name} cannot be downloaded here ({reason}); "
            "give the path of its weights, or false"
        ) from error
    if isinstance(config.pretrained, str):
        load_body(body, config.pretrained)
    return body


def _create_body(config: BackboneConfig) -> Body:
    max_stride, download = max(config.strides), config.pretrained is True
    if config.name == "mobilenet0.25":
        return SteppedBody(*_mobilenet_v1(config), max_stride)
    name = config.name.removeprefix("timm/")
    if name in MULTIPLIERS:
        return _lite(name, max_stride, config.lite_expansion, pretrained=download)
    if not config.name.startswith(TORCHVISION_BODIES):
        from head_detection.models.timm_body import TimmBody  # noqa: PLC0415 - takes seconds

        return TimmBody(name, max_stride, pretrained=download)
    network = torchvision.models.get_model(config.name, weights="DEFAULT" if download else None)
    if config.name.startswith("resnet"):
        return SteppedBody(network, RESNET_STEPS, max_stride)
    steps = [f"features.{index}" for index in range(len(network.features))]
    return SteppedBody(network, steps, max_stride)


def _lite(name: str, max_stride: int, expansion: int, *, pretrained: bool) -> LiteBody:
    body = LiteBody(name, max_stride, expansion)
    if pretrained:
        from head_detection.models.timm_body import download  # noqa: PLC0415 - takes seconds

        theirs = download(name)
        body.network.load_state_dict({key: theirs[key] for key in body.network.state_dict()})
    return body


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
