"""Batch norm folded into the convolution before it: the same function in fewer steps."""

import copy
import logging
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d

PROBE_SIZE = 128
"""Side of the picture that shows what feeds what: a pixel at least on the coarsest level, 64."""
RELATIVE_TOLERANCE = 1e-3
"""Of the largest feature: float32 rounds differently after folding, a wrong pair is far off."""

BatchNorm: TypeAlias = nn.BatchNorm2d | FrozenBatchNorm2d


@torch.no_grad()
def fold_batch_norm(model: nn.Module) -> int:
    """Fold, in place, each batch norm that takes the output of one convolution and of no other.

    A picture of noise is sent through to see which convolution feeds which norm: the order in
    which modules are registered does not tell. Its features are compared before and after; where
    they differ (a convolution whose output is used twice, say) all stays as it was.

    Args:
        model: takes ``(B, 3, H, W)`` and gives a dict of tensors; in evaluation mode,
            float32, on CPU.

    Returns:
        How many norms were folded.
    """
    probe = torch.rand((1, 3, PROBE_SIZE, PROBE_SIZE), generator=torch.Generator().manual_seed(0))
    pairs, before = _find_pairs(model, probe)
    names = {module: name for name, module in model.named_modules()}
    originals = {names[module]: module for pair in pairs for module in pair}
    for convolution, norm in pairs:
        model.set_submodule(names[convolution], _fold(convolution, norm))
        # timm's norms hold the activation that follows.
        model.set_submodule(names[norm], getattr(norm, "act", nn.Identity()))
    if _are_close(before, model(probe)):
        return len(pairs)
    for name, module in originals.items():
        model.set_submodule(name, module)
    logging.getLogger(__name__).warning("batch norm was left as it is: folding changed features")
    return 0


def _find_pairs(
    model: nn.Module, probe: Tensor
) -> tuple[list[tuple[nn.Conv2d, BatchNorm]], dict[str, Tensor]]:
    made_by: dict[int, nn.Conv2d] = {}
    outputs: list[Tensor] = []  # kept alive, so that no later tensor gets the same id
    calls: list[tuple[nn.Conv2d | None, BatchNorm]] = []
    uses: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        uses[module] = uses.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            outputs.append(output)
            made_by[id(output)] = module
        elif isinstance(module, BatchNorm):
            calls.append((made_by.get(id(inputs[0])), module))

    parts = [m for m in model.modules() if isinstance(m, nn.Conv2d | BatchNorm)]
    hooks = [module.register_forward_hook(note) for module in parts]
    try:
        features = model(probe)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [
        (convolution, norm)
        for convolution, norm in calls
        if convolution is not None and uses[convolution] == uses[norm] == 1
    ]
    return pairs, features


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


def _are_close(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return all(
        bool((after[key] - value).abs().max() <= RELATIVE_TOLERANCE * value.abs().max())
        for key, value in before.items()
    )
