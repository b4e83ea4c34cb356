"""Convolution and what follows it in one pass over memory: the same function, sooner on a CPU."""

import logging
from collections import Counter
from typing import Any, Final

import torch
from torch import Tensor, nn

from head_detection.inference.backends.same_padding import fix_same_padding, pad_in_kernel
from head_detection.models.network import Network

PROBE_SIZE: Final = 128
RELATIVE_TOLERANCE: Final = 1e-3
"""Of the largest value of a map: another order of additions rounds differently."""


class FusedConvolution(nn.Module):
    """A convolution with the activation behind it, by oneDNN's own fusion.

    Args:
        convolution: zero-padded, its padding a number a side.
        activation: one that ``oneDNN`` fuses.

    Raises:
        ValueError: an activation that it does not fuse.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.kind, self.scalars, self.algorithm = _describe(activation)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the activated maps."""
        own = self.convolution
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001 - inductor's own
            maps,
            own.weight,
            own.bias,
            own.padding,
            own.stride,
            own.dilation,
            own.groups,
            self.kind,
            self.scalars,
            self.algorithm,
        )
        return fused


def _describe(activation: nn.Module) -> tuple[str, list[float], str]:
    match activation:
        case nn.ReLU6():
            return "hardtanh", [0.0, 6.0], ""
        case nn.ReLU():
            return "relu", [], ""
        case nn.LeakyReLU():
            return "leaky_relu", [activation.negative_slope], ""
        case nn.SiLU():
            return "swish", [], ""
        case nn.Hardswish():
            return "hardswish", [], ""
        case _:
            raise ValueError(f"activation: expected one that is fused; got {type(activation)}")


@torch.no_grad()
def can_fuse_in(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN, as torch was built, fuses convolutions of this type here."""
    maps = torch.ones(1, 8, 8, 8, dtype=dtype)
    try:
        FusedConvolution(nn.Conv2d(8, 8, 3, dtype=dtype), nn.ReLU())(maps)
    except (RuntimeError, AttributeError):  # a processor without the type, a torch without oneDNN
        return False
    return True


@torch.no_grad()
def fuse_for_cpu(network: Network, size_divisor: int) -> int:
    """Rewrite, in place, the dense part of a network whose batch norms are folded.

    Convolutions padded at the end alone get their padding without a copy of the map, and
    convolutions take in the activation that alone follows them. A picture of noise shows what
    follows what. Where the maps differ afterwards, or oneDNN is not there, all stays as it was.

    Args:
        network: in evaluation mode, float32, on CPU.
        size_divisor: sides of a batch are multiples of it.

    Returns:
        How many convolutions were rewritten.
    """
    probe = torch.rand((1, 3, PROBE_SIZE, PROBE_SIZE), generator=torch.Generator().manual_seed(0))
    probe = probe.to(memory_format=torch.channels_last)
    before = _maps(network, probe)
    originals: dict[str, nn.Module] = {}
    try:
        originals |= fix_same_padding(network, pad_in_kernel, size_divisor)
        _fuse_activations(network, probe, originals)
        is_same = _are_close(before, _maps(network, probe))
    except (RuntimeError, AttributeError):  # another oneDNN, or a torch without it
        is_same = False
    if is_same:
        return len(originals)
    for name, module in originals.items():
        network.set_submodule(name, module)
    logging.getLogger(__name__).warning("convolutions were left as they are: fusing changed maps")
    return 0


def _fuse_activations(network: Network, probe: Tensor, originals: dict[str, nn.Module]) -> None:
    names = {module: name for name, module in network.named_modules()}
    for convolution, activation in _find_pairs(network, probe):
        try:
            fused = FusedConvolution(convolution, activation)
        except ValueError:
            continue
        for module, successor in ((convolution, fused), (activation, nn.Identity())):
            originals.setdefault(names[module], module)
            network.set_submodule(names[module], successor)


def _find_pairs(network: Network, probe: Tensor) -> list[tuple[nn.Conv2d, nn.Module]]:
    """Return each convolution with the module that every time, and it alone, took its output."""
    made_by: dict[int, nn.Conv2d] = {}
    kept: list[Tensor] = []  # alive, so that no later tensor gets the same id
    calls: Counter[nn.Module] = Counter()
    pairs: Counter[tuple[nn.Conv2d, nn.Module]] = Counter()

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        calls[module] += 1
        kept.extend((inputs[0], output))
        if type(module) is nn.Conv2d and isinstance(module.padding, tuple):
            made_by[id(output)] = module
        elif id(inputs[0]) in made_by:
            pairs[made_by.pop(id(inputs[0])), module] += 1

    parts = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in parts]
    try:
        network.dense(probe)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (convolution, module)
        for (convolution, module), count in pairs.items()
        if calls[convolution] == calls[module] == count
    ]


def _maps(network: Network, probe: Tensor) -> list[Tensor]:
    return [level for levels in network.dense(probe) for level in levels]


def _are_close(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(
        bool((new - old).abs().max() <= RELATIVE_TOLERANCE * old.abs().max())
        for old, new in zip(before, after, strict=True)
    )
