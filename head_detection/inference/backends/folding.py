"""Folding batch norm into convolutions, and which module follows which, for all such rewriting."""

import copy
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d

PROBE_SIZE: Final = 128
"""Side of the traced noise picture: at least one pixel on the coarsest level (stride 64)."""
RELATIVE_TOLERANCE: Final = 1e-3
"""Relative to a map's largest value: fusing changes the rounding, a wrong pair far more."""

BatchNorm: TypeAlias = nn.BatchNorm2d | FrozenBatchNorm2d
Maps: TypeAlias = list[Tensor]


@torch.no_grad()
def fold_batch_norm(model: nn.Module) -> int:
    """Fold, in place, each batch norm whose input is always the output of the same convolution.

    A noise picture is run to see which convolution feeds which norm, because the registration order
    of modules does not tell. Its features are compared before and after; if they differ (for
    example because a convolution's output is used twice), the model is restored.

    Args:
        model: takes ``(B, 3, H, W)`` and returns a dict of tensors; in evaluation mode, float32,
            on CPU.

    Returns:
        Number of folded norms.
    """

    def run() -> Maps:
        return list(model(probe).values())

    probe = noise()
    before, followed = find_pairs(model, run)
    pairs = [(made, norm) for made, norm in followed if isinstance(norm, BatchNorm)]
    names = {module: name for name, module in model.named_modules()}
    originals = {names[module]: module for pair in pairs for module in pair}
    for convolution, norm in pairs:
        model.set_submodule(names[convolution], _fold(convolution, norm))
        # timm's norms contain the activation that follows.
        model.set_submodule(names[norm], getattr(norm, "act", nn.Identity()))
    if are_close(before, run()):
        return len(pairs)
    put_back(model, originals)
    logging.getLogger(__name__).warning("batch norm was left as it is: folding changed features")
    return 0


def find_pairs(
    model: nn.Module, run: Callable[[], Maps]
) -> tuple[Maps, list[tuple[nn.Conv2d, nn.Module]]]:
    """Run the model; return its maps, and each convolution with the module that follows it.

    That module must be the only one to take the convolution's output, on every call.
    """
    made_by: dict[int, nn.Conv2d] = {}
    kept: list[object] = []  # keeps tensors alive, so that no later one gets the same id
    calls: Counter[nn.Module] = Counter()
    takers: defaultdict[nn.Conv2d, list[nn.Module]] = defaultdict(list)

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] += 1
        kept.append((inputs, output))
        for given in inputs:
            if id(given) in made_by:
                takers[made_by[id(given)]].append(module)
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module
        else:  # if it works in place, the next module takes this module's output
            made_by.pop(id(output), None)

    # timm's norms are not leaves, since they contain the activation that follows. An identity, left
    # by a folded norm, returns its input and is skipped.
    parts = [
        module
        for module in model.modules()
        if isinstance(module, BatchNorm)
        or not (list(module.children()) or isinstance(module, nn.Identity))
    ]
    hooks = [module.register_forward_hook(note) for module in parts]
    try:
        maps = run()
    finally:
        for hook in hooks:
            hook.remove()
    return maps, [
        (convolution, taken[0])
        for convolution, taken in takers.items()
        if set(taken) == {taken[0]} and len(taken) == calls[convolution] == calls[taken[0]]
    ]


def noise() -> Tensor:
    """Return the picture of noise that networks are compared on."""
    return torch.rand((1, 3, PROBE_SIZE, PROBE_SIZE), generator=torch.Generator().manual_seed(0))


def put_back(model: nn.Module, originals: Mapping[str, nn.Module]) -> None:
    """Restore modules by their names."""
    for name, module in originals.items():
        model.set_submodule(name, module)


def are_close(before: Maps, after: Maps, tolerance: float = RELATIVE_TOLERANCE) -> bool:
    """Tell whether no value differs by more than the tolerance, relative to its map's largest."""
    return all(
        bool((new - old).abs().max() <= tolerance * old.abs().max())
        for old, new in zip(before, after, strict=True)
    )


def _fold(convolution: nn.Conv2d, norm: BatchNorm) -> nn.Conv2d:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("norm: expected running statistics; got none")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    folded = copy.deepcopy(convolution)
    folded.weight, folded.bias = weight, bias
    return folded
