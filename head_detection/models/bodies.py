"""Bodies, which compute one feature map per stride from a picture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from head_detection.config.network import PUBLISHED_EXPANSION
from head_detection.models.efficientnet_lite import EfficientNetLite

PROBE_SIZE = 128


class Body(nn.Module):
    """Takes ``(B, 3, H, W)`` and returns a list of maps, ``(B, C_i, H_i, W_i)``.

    Attributes:
        strides: strides of the maps in input pixels, finest first.
        channels: channels of the maps.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]


class SteppedBody(Body):
    """A network that is run module by module; it returns the last map of each stride.

    Args:
        network: a network that runs the modules ``steps`` one after the other.
        steps: dotted names of those modules, in order.
        max_stride: modules after the last map of this stride are dropped.
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


class LiteBody(Body):
    """An EfficientNet-Lite whose tensors have the same names as in ``TimmBody``.

    Args:
        name: as ``EfficientNetLite``.
        max_stride: as ``EfficientNetLite``.
        expansion: as ``EfficientNetLite``.
    """

    def __init__(self, name: str, max_stride: int, expansion: int = PUBLISHED_EXPANSION) -> None:
        super().__init__()
        self.network = EfficientNetLite(name, max_stride, expansion)
        self.strides, self.channels = self.network.strides, self.network.channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` for each of ``strides``, of ``(B, 3, H, W)``."""
        maps: list[Tensor] = self.network(images)
        return maps


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
        # HeadHunter's stem leaves one pixel more than half, so round to a power of two.
        stride = 2 ** round(torch.log2(torch.tensor(PROBE_SIZE / features.shape[-1])).item())
        taps[stride] = (index, features.shape[1])
    network.train()
    return taps
