"""Fusing convolutions with bias and activation: the same function, in fewer passes on a GPU."""

import logging
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead

from head_detection.inference.backends.folding import are_close, find_pairs, noise, put_back
from head_detection.models.convolution import SameConv2d
from head_detection.models.network import Network
from head_detection.models.roi_heads import reordered

TOLERANCE: Final = 2e-2
"""Relative to a map's largest value: half precision rounds at other points."""
MOST_INPUTS: Final = 4
MOST_OUTPUTS: Final = 64
"""Channels of a first convolution."""
EIGHT: Final = 8
"""Kernels need multiples of it."""
POINTWISE: Final = "pointwise"
DEPTHWISE: Final = "depthwise"
STEM: Final = "stem"


@torch.no_grad()
def cast_and_fuse(network: Network, dtype: torch.dtype) -> int:
    """Cast, in place, a network whose batch norms are folded, and fuse its convolutions.

    Pointwise and depthwise convolutions, and that of the picture, become kernels that add the bias
    in float32 and apply the activation that alone follows; a noise picture shows which one that is.
    cuDNN fuses dense ones with a ReLU. The features that boxes are pooled from keep their type. If
    the outputs differ afterwards, the network is cast only.

    Args:
        network: in evaluation mode, float32, on a GPU that ``kernels.can_run`` on.
        dtype: float16 or bfloat16.

    Returns:
        Number of replaced modules.
    """
    probe = noise().to(next(network.parameters()).device, memory_format=torch.channels_last)
    roi_heads, channels = network.roi_heads, network.backbone.out_channels
    box_head, cells = roi_heads.box_head, roi_heads.box_head.fc6.in_features // channels
    pooled = torch.rand((2, cells, 1, channels), generator=torch.Generator().manual_seed(0))
    pooled = pooled.to(probe.device, dtype).permute(0, 3, 1, 2)

    def run() -> list[Tensor]:
        outputs = [*network.dense(probe), network.score(pooled)]
        return [output.float() for outputs_of in outputs for output in outputs_of]

    _, pairs = find_pairs(network, lambda: list(network.backbone(probe).values()))
    pairs += _pairs_of_proposals(network)
    exact = {
        module: module.bias.detach().clone()
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.bias is not None
    }
    network.to(dtype)
    probe = probe.to(dtype)
    before, originals = run(), {"roi_heads.box_head": box_head}
    try:
        _replace(network, dict(pairs), exact, originals)
        roi_heads.box_head = ChannelsLastBoxHead(box_head, channels)
        roi_heads.keeps_type = True
        is_same, reason = are_close(before, run(), TOLERANCE), "fusing changed maps"
    except Exception as error:  # noqa: BLE001 - of Triton, the compiler or cuDNN, of any type
        is_same, reason = False, f"{type(error).__name__}: {error}"
    if is_same:
        return len(originals)
    put_back(network, originals)
    roi_heads.keeps_type = False
    logging.getLogger(__name__).warning("cuda: convolutions are not fused: %s", reason)
    return 0


class FusedConvolution(nn.Module):
    """A convolution that a kernel computes with its bias and activation.

    Args:
        convolution: zero-padded, of a kind that ``kind_of`` names.
        bias: ``(D,)`` float32; it keeps that type when the network is cast.
        activation: one of the kernels' own.
    """

    weight: Tensor

    def __init__(self, convolution: nn.Conv2d, bias: Tensor, activation: int) -> None:
        super().__init__()
        self.kind, self.activation, self.bias = kind_of(convolution), activation, bias
        self._side, self._stride = convolution.kernel_size[0], convolution.stride[0]
        is_same = isinstance(convolution, SameConv2d)
        self._padding = None if is_same else int(convolution.padding[0])
        taps = convolution.weight.detach().permute(2, 3, 1, 0)
        if self.kind == POINTWISE:
            taps = taps[0, 0].T
        self.register_buffer("weight", taps.reshape(-1, taps.shape[-1]).contiguous())

    def forward(self, maps: Tensor) -> Tensor:
        """Return the activated maps, channels_last."""
        from head_detection.kernels import convolution as kernels  # noqa: PLC0415 - imports Triton

        if self.kind == POINTWISE:
            return kernels.pointwise(maps, self.weight, self.bias, self.activation)
        (above, height), (left, width) = (self._placed(side) for side in maps.shape[2:])
        placement = kernels.Placement(self._stride, above, left, height, width)
        convolve = kernels.depthwise if self.kind == DEPTHWISE else kernels.stem
        return convolve(maps, self.weight, self.bias, self.activation, placement)

    def _placed(self, side: int) -> tuple[int, int]:
        """Return the zeros before a side of the map, and the side of the result."""
        if self._padding is not None:
            return self._padding, (side + 2 * self._padding - self._side) // self._stride + 1
        made = -(-side // self._stride)
        return max((made - 1) * self._stride + self._side - side, 0) // 2, made


class DenseReLU(nn.Module):
    """A dense convolution with ReLU, fused by cuDNN.

    Args:
        convolution: zero-padded, with a bias.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, maps: Tensor) -> Tensor:
        """Return the activated maps."""
        own = self.convolution
        padding = [int(side) for side in own.padding]
        return torch.cudnn_convolution_relu(
            maps, own.weight, own.bias, own.stride, padding, own.dilation, own.groups
        )


class ChannelsLastBoxHead(nn.Module):
    """The two hidden layers of the second stage, for pooled features with channels last in memory.

    Args:
        box_head: is not changed.
        channels: of the features.
    """

    def __init__(self, box_head: TwoMLPHead, channels: int) -> None:
        super().__init__()
        self.fc6, self.fc7 = reordered(box_head.fc6, channels), box_head.fc7

    def forward(self, pooled: Tensor) -> Tensor:
        """Return ``(N, width)`` for ``(N, C, P, P)``."""
        rows = pooled.permute(0, 2, 3, 1).flatten(1)
        hidden: Tensor = self.fc7(self.fc6(rows).relu_()).relu_()
        return hidden


def kind_of(convolution: nn.Conv2d) -> str | None:
    """Return the kernel that computes a convolution: pointwise, depthwise or stem; None: none does.

    Example:
        >>> kind_of(nn.Conv2d(16, 24, 1)), kind_of(nn.Conv2d(16, 24, 3))
        ('pointwise', None)
    """
    inputs, outputs, groups = (
        convolution.in_channels, convolution.out_channels, convolution.groups
    )  # fmt: skip
    shapes = (convolution.kernel_size, convolution.stride, convolution.padding)
    is_plain = (
        type(convolution) in (nn.Conv2d, SameConv2d)
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
        and convolution.dilation == (1, 1)
        and all(len(set(shape)) == 1 for shape in shapes)
        and outputs % EIGHT == 0
    )
    if is_plain and groups == inputs == outputs:
        return DEPTHWISE
    if is_plain and groups == 1 and inputs <= MOST_INPUTS and outputs <= MOST_OUTPUTS:
        return STEM
    if is_plain and groups == 1 and shapes == ((1, 1), (1, 1), (0, 0)) and inputs % EIGHT == 0:
        return POINTWISE
    return None


def _pairs_of_proposals(network: Network) -> list[tuple[nn.Conv2d, nn.Module]]:
    """Return the convolution of torchvision's head, which a ReLU follows on every level."""
    convolutions = network.rpn.head.conv
    return [(block[0], block[1]) for block in convolutions]


def _replace(
    network: Network,
    followed: Mapping[nn.Conv2d, nn.Module],
    exact: Mapping[nn.Conv2d, Tensor],
    originals: dict[str, nn.Module],
) -> None:
    from head_detection.kernels import convolution as kernels  # noqa: PLC0415 - imports Triton

    activations = {nn.ReLU: kernels.RELU, nn.ReLU6: kernels.RELU6}
    names = {module: name for name, module in network.named_modules()}
    for module, name in list(names.items()):
        if not isinstance(module, nn.Conv2d):
            continue
        after = followed.get(module)
        activation = (
            kernels.LINEAR if after is None else activations.get(type(after), kernels.LINEAR)
        )
        made: nn.Module
        if kind_of(module) is not None:
            bias = exact.get(module)
            if bias is None:
                bias = torch.zeros(module.out_channels, device=module.weight.device)
            made = FusedConvolution(module, bias, activation)
        elif activation == kernels.RELU and module in exact and type(module) is nn.Conv2d:
            made = DenseReLU(module)
        else:
            continue
        originals[name] = module
        network.set_submodule(name, made)
        if after is not None and activation != kernels.LINEAR:
            originals[names[after]] = after
            network.set_submodule(names[after], nn.Identity())
