"""Fusing convolutions with the layers that follow: the same function, faster on a CPU."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead

from head_detection.inference.backends.folding import Maps, are_close, find_pairs, noise, put_back
from head_detection.models.convolution import SameConv2d, made_of
from head_detection.models.network import Network
from head_detection.models.roi_heads import reordered

_HALVING: Final = (2, 2)


@torch.no_grad()
def fuse_for_cpu(network: Network, size_divisor: int) -> int:
    """Rewrite, in place, a network whose batch norms are folded.

    Asymmetric padding no longer copies the map, and convolutions include the activation that alone
    follows them; a noise picture shows which one that is. All convolutions and the box head run in
    oneDNN, whatever PyTorch would choose: it copies the map for 1x1 convolutions in one thread, and
    its matrix product is half as fast on AMD's processors. If the outputs differ afterwards, or
    oneDNN is missing, the network is restored.

    Args:
        network: in evaluation mode, float32, on CPU.
        size_divisor: sides of a batch are multiples of it.

    Returns:
        Number of replaced modules.
    """

    def run() -> Maps:
        return [level for levels in network.dense(probe) for level in levels]

    def score() -> Maps:
        return list(network.score(pooled))

    probe = noise().to(memory_format=torch.channels_last)
    box_head, channels = network.roi_heads.box_head, network.backbone.out_channels
    cells = box_head.fc6.in_features // channels
    pooled = torch.rand((2, channels, cells, 1), generator=torch.Generator().manual_seed(0))
    before = [*run(), *score()]
    originals: dict[str, nn.Module] = {}
    try:
        originals |= fix_same_padding(network, pad_in_kernel, size_divisor)
        _, pairs = find_pairs(network, run)
        _fuse_activations(network, pairs, originals)
        _fuse_others(network, run, originals)
        originals["roi_heads.box_head"] = box_head
        network.roi_heads.box_head = FusedBoxHead(box_head, channels)
        is_same = are_close(before, [*run(), *score()])
    except (RuntimeError, AttributeError):  # an incompatible oneDNN, or a torch without it
        is_same = False
    if is_same:
        return len(originals)
    put_back(network, originals)
    logging.getLogger(__name__).warning("convolutions were left as they are: fusing changed maps")
    return 0


@torch.no_grad()
def can_fuse_in(dtype: torch.dtype) -> bool:
    """Tell whether torch's oneDNN can fuse convolutions of this type on this processor."""
    maps = torch.ones(1, 8, 8, 8, dtype=dtype)
    try:
        FusedConvolution(nn.Conv2d(8, 8, 3, dtype=dtype), nn.ReLU())(maps)
    except (RuntimeError, AttributeError):  # a processor without the type, a torch without oneDNN
        return False
    return True


def fix_same_padding(
    network: Network, rewrite: Callable[[SameConv2d], nn.Module | None], size_divisor: int
) -> dict[str, nn.Module]:
    """Replace, in place, the backbone's convolutions whose padding depends on their input's size.

    These have TensorFlow's "same" padding. If the input's size is a multiple of the stride, fixed
    padding is equivalent. If the batch's sides do not guarantee that, nothing is replaced.

    Args:
        network: in evaluation mode.
        rewrite: ``pad_before`` or ``pad_in_kernel``, whichever is faster in the backend.
        size_divisor: sides of a batch are multiples of it.

    Returns:
        The original modules that were replaced, by their names in the network.
    """
    if size_divisor % max(network.backbone.strides) != 0:
        return {}
    named = {
        name: module
        for name, module in network.backbone.named_modules(prefix="backbone")
        if isinstance(module, SameConv2d)
    }
    successors = {name: rewrite(module) for name, module in named.items()}
    for name, successor in successors.items():
        if successor is not None:
            network.set_submodule(name, successor)
    return {name: named[name] for name, successor in successors.items() if successor is not None}


def pad_before(convolution: SameConv2d) -> nn.Sequential:
    """Return padding and a plain convolution, which graph libraries fuse into one step.

    There, zeros in the kernel would only add multiplications.
    """
    down, right = (
        max(dilation * (size - 1) + 1 - stride, 0)
        for size, dilation, stride in zip(
            convolution.kernel_size, convolution.dilation, convolution.stride, strict=True
        )
    )
    padding = nn.ZeroPad2d((right // 2, right - right // 2, down // 2, down - down // 2))
    return nn.Sequential(padding, made_of(nn.Conv2d, convolution))


@torch.no_grad()
def pad_in_kernel(convolution: SameConv2d) -> nn.Conv2d | None:
    """Return a convolution with a row and a column of zeros at the start of its kernels.

    For an even input, "same" pads one pixel more at the end. The larger kernel makes the padding
    symmetric, which PyTorch does without copying the map. It returns None for strides other than 2,
    even kernels and dilation, where this does not hold.
    """
    size = convolution.kernel_size[0]
    if convolution.kernel_size != (size, size) or convolution.stride != _HALVING:
        return None
    if size % 2 == 0 or convolution.dilation != (1, 1):
        return None
    even = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        size + 1,
        _HALVING,
        (size - 1) // 2,
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    even.weight.zero_()
    even.weight[:, :, 1:, 1:] = convolution.weight
    if even.bias is not None and convolution.bias is not None:
        even.bias.copy_(convolution.bias)
    return even.eval().to(memory_format=torch.channels_last)


class FusedConvolution(nn.Module):
    """A convolution and the activation that follows, fused by oneDNN.

    Args:
        convolution: zero-padded, with numeric padding.
        activation: one that oneDNN can fuse; None: no activation.

    Raises:
        ValueError: an activation that oneDNN cannot fuse.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
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


class FusedLinear(nn.Module):
    """A linear layer and the ReLU that follows, fused by oneDNN.

    Args:
        linear: with a bias.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``(N, out_features)``, at least 0, for ``(N, in_features)``."""
        own = self.linear
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 - inductor's own
            rows, own.weight, own.bias, "relu", [], ""
        )
        return fused


class FusedBoxHead(nn.Module):
    """The two hidden layers of the second stage, for pooled features with channels last in memory.

    Args:
        box_head: is not changed.
        channels: of the features.
    """

    def __init__(self, box_head: TwoMLPHead, channels: int) -> None:
        super().__init__()
        self.fc6 = FusedLinear(reordered(box_head.fc6, channels))
        self.fc7 = FusedLinear(box_head.fc7)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return ``(N, width)`` for ``(N, C, P, P)``."""
        hidden: Tensor = self.fc7(self.fc6(pooled.permute(0, 2, 3, 1).flatten(1)))
        return hidden


def _describe(activation: nn.Module | None) -> tuple[str, list[float], str]:
    match activation:
        case None:
            return "none", [], ""
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


def _fuse_activations(
    network: Network,
    pairs: Iterable[tuple[nn.Conv2d, nn.Module]],
    originals: dict[str, nn.Module],
) -> None:
    names = {module: name for name, module in network.named_modules()}
    for convolution, activation in pairs:
        if not _is_plain(convolution):
            continue
        try:
            fused = FusedConvolution(convolution, activation)
        except ValueError:
            continue
        for module, successor in ((convolution, fused), (activation, nn.Identity())):
            originals.setdefault(names[module], module)
            network.set_submodule(names[module], successor)


def _fuse_others(
    network: Network, run: Callable[[], Maps], originals: dict[str, nn.Module]
) -> None:
    """Let oneDNN run the remaining convolutions that are called, without an activation."""
    named = {name: module for name, module in network.named_modules() if _is_plain(module)}
    called: set[nn.Module] = set()
    hooks = [
        module.register_forward_hook(lambda module, *_: called.add(module))
        for module in named.values()
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    for name, module in named.items():
        if module in called and isinstance(module, nn.Conv2d):
            originals.setdefault(name, module)
            network.set_submodule(name, FusedConvolution(module, None))


def _is_plain(module: nn.Module) -> bool:
    """Tell whether a module is exactly a ``Conv2d``, with numeric zero padding."""
    if type(module) is not nn.Conv2d:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)
