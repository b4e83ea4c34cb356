"""Starting a smaller network from a larger one: what it lacks is fitted by least squares.

No labels and no gradients are needed, only pictures. Each part is fitted to what the larger network
computes there, from what the smaller one computes before it, so that errors are made good.
"""

from collections.abc import Iterator, Sequence
from typing import Final, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from head_detection.models.bodies import LiteBody
from head_detection.models.efficientnet_lite import InvertedResidual
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.fpn import LightFPN, TopDownFPN
from head_detection.models.least_squares import Regression
from head_detection.models.network import DenseMaps

LIKELY: Final = 0.05
"""Cells whose objectness in the larger network is above this count ``LIKELY_WEIGHT`` times."""
LIKELY_WEIGHT: Final = 21.0
MOST_ROWS: Final = 20_000
"""Cells of a batch's map that a layer is fitted to, drawn at random."""
DEPENDENT: Final = 1e-3
"""Singular values of a level's fit below this share of the largest are not inverted."""
HEAD_RIDGE: Final = 1e-4

FIRST_LAYERS: Final = ("rpn.head.conv", "roi_heads.box_head.fc6")

Fit = tuple[str, float]
"""The name of a fitted part, and the share of the variance that it leaves."""


@torch.no_grad()
def slim(source: FasterRCNN, target: FasterRCNN, batches: Sequence[ImageList]) -> Iterator[Fit]:
    """Start the target from the source, in place, and yield each part once it is fitted.

    Tensors of the same name and shape are copied. Then the target gets the channels of each
    expansion that matter most, with a new projection; the layers of a light pyramid; and new first
    layers behind the pyramid.

    Args:
        source: the trained detector, in evaluation mode, on CPU.
        target: of the same network, but for the body's ``expansion`` and a light pyramid; in
            evaluation mode, on CPU.
        batches: transformed pictures; some hundred crops.

    Raises:
        ValueError: pictures without any proposal of the source, from which its second stage cannot
            be fitted.
    """
    _copy_what_fits(source, target)
    yield from _slim_body(source, target, batches)
    if isinstance(target.backbone.fpn, LightFPN) and isinstance(source.backbone.fpn, TopDownFPN):
        _fit_pyramid(source, target.backbone.fpn, batches)
    yield from _fit_heads(source, target, batches)


def _copy_what_fits(source: FasterRCNN, target: FasterRCNN) -> None:
    given, state = source.network.state_dict(), target.network.state_dict()
    fitting = {
        name: given[name]
        for name, tensor in state.items()
        if name in given and given[name].shape == tensor.shape
    }
    target.network.load_state_dict(state | fitting)


def _slim_body(
    source: FasterRCNN, target: FasterRCNN, batches: Sequence[ImageList]
) -> Iterator[Fit]:
    if not isinstance(source.backbone.body, LiteBody):
        return  # it has been copied
    larger = source.backbone.body.network
    smaller = cast("LiteBody", target.backbone.body).network
    wanted = [larger.act(larger.bn1(larger.conv_stem(batch.tensors))) for batch in batches]
    given = wanted
    for stage, (blocks, slim_blocks) in enumerate(zip(larger.blocks, smaller.blocks, strict=True)):
        pairs = zip(cast("nn.Sequential", blocks), cast("nn.Sequential", slim_blocks), strict=True)
        for number, (block, slim_block) in enumerate(pairs):
            wanted = [block(maps) for maps in wanted]
            if isinstance(block, InvertedResidual) and isinstance(slim_block, InvertedResidual):
                yield f"blocks.{stage}.{number}", _slim_block(block, slim_block, given, wanted)
            given = [slim_block(maps) for maps in given]


def _slim_block(
    block: InvertedResidual,
    slim_block: InvertedResidual,
    given: Sequence[Tensor],
    wanted: Sequence[Tensor],
) -> float:
    """Give a block the larger one's best channels and a new projection; return what is left.

    Source:
        He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017.
    """
    projection, norm = slim_block.conv_pwl, slim_block.bn3
    regression = Regression(block.conv_dw.out_channels, projection.out_channels)
    for maps, output in zip(given, wanted, strict=True):
        rows = _rows(block.expand(maps)), _rows(output - maps if block.is_added else output)
        regression.add(*_drawn(*rows))
    kept = regression.choose(projection.in_channels)
    for layer in ("conv_pw", "bn1", "conv_dw", "bn2"):
        given_state = getattr(block, layer).state_dict()
        getattr(slim_block, layer).load_state_dict(
            {key: value[kept] if value.dim() else value for key, value in given_state.items()}
        )
    solution = regression.solve(kept)
    projection.weight.copy_(solution.weight[:, :, None, None])
    # The norm lets the projection's output through: its statistics are those of these pictures.
    cast("Tensor", norm.running_mean).copy_(solution.mean)
    cast("Tensor", norm.running_var).copy_(solution.variance)
    norm.weight.copy_((solution.variance + norm.eps).sqrt())
    norm.bias.copy_(solution.mean + solution.bias)
    return solution.left


def _fit_pyramid(source: FasterRCNN, light: LightFPN, batches: Sequence[ImageList]) -> None:
    """Give a light pyramid outputs like those of the source's, cell by cell.

    Output ``i`` of the source is about ``W_i m_i + b_i`` of what is merged there, ``m_i``, which is
    a lateral plus ``m_(i+1)`` enlarged. So the light pyramid's laterals are the source's times
    ``W_i``, and its way down is ``W_i`` times the inverse of ``W_(i+1)``.
    """
    fpn = cast("TopDownFPN", source.backbone.fpn)
    width = source.backbone.out_channels
    fits = [Regression(width, width) for _ in light.laterals]
    for batch in batches:
        merged = _merged(fpn, source.backbone.features(batch.tensors))
        outputs = [layer(maps) for layer, maps in zip(fpn.layer_blocks, merged, strict=True)]
        likely = _importance(source, list(source.backbone(batch.tensors).values()))
        # A level of stride 64 is pooled from the one before it, so it has nothing to be fitted.
        for fit, before, after, weights in zip(fits, merged, outputs, likely, strict=False):
            fit.add(*_drawn(_rows(before), _rows(after), weights))
    solutions = [fit.solve() for fit in fits]
    for level, (own, lateral) in enumerate(zip(solutions, light.laterals, strict=True)):
        inner = cast("nn.Conv2d", cast("nn.Sequential", fpn.inner_blocks[level])[0])
        bias = own.weight @ cast("Tensor", inner.bias) + own.bias
        if level < len(light.downs):
            coarser = solutions[level + 1]
            down = own.weight @ torch.linalg.pinv(coarser.weight, rtol=DEPENDENT)
            cast("nn.Conv2d", light.downs[level]).weight.copy_(down[:, :, None, None])
            bias = bias - down @ coarser.bias
        convolution = cast("nn.Conv2d", lateral)
        convolution.weight.copy_((own.weight @ inner.weight[:, :, 0, 0])[:, :, None, None])
        cast("Tensor", convolution.bias).copy_(bias)


def _merged(fpn: TopDownFPN, maps: Sequence[Tensor]) -> list[Tensor]:
    """Return what torchvision's pyramid merges at each level, before its output convolutions."""
    merged = [fpn.inner_blocks[-1](maps[-1])]
    for level in reversed(range(len(maps) - 1)):
        fine = fpn.inner_blocks[level](maps[level])
        coarse = F.interpolate(merged[0], size=fine.shape[-2:], mode="nearest")
        merged.insert(0, fine + coarse)
    return merged


def _fit_heads(
    source: FasterRCNN, target: FasterRCNN, batches: Sequence[ImageList]
) -> Iterator[Fit]:
    """Fit the first layer of the proposal network and that of the second stage."""
    convolution, layers = _first_layers(source)[0], _first_layers(target)
    fits = [Regression(layer.weight[0].numel(), len(layer.weight)) for layer in layers]
    for batch in batches:
        both = [list(detector.backbone(batch.tensors).values()) for detector in (source, target)]
        likely = _importance(source, both[0])
        for old, new, weights in zip(*both, likely, strict=True):
            wanted = _rows(convolution(source.rpn.upscale(old)))
            fits[0].add(*_drawn(_patches(target.rpn.upscale(new), convolution), wanted, weights))
        fits[1].add(*_pooled(source, target, both, batch))
    if fits[1].is_empty:
        raise ValueError("expected pictures of heads; the larger network proposes no box in these")
    solutions = fits[0].solve(), fits[1].solve(ridge=HEAD_RIDGE)
    for name, layer, solution in zip(FIRST_LAYERS, layers, solutions, strict=True):
        layer.load_state_dict(
            {"weight": solution.weight.view_as(layer.state_dict()["weight"]), "bias": solution.bias}
        )
        yield name, solution.left


def _first_layers(detector: FasterRCNN) -> tuple[nn.Conv2d, nn.Linear]:
    convolution = cast("nn.Conv2d", detector.rpn.head.conv[0][0])
    return convolution, detector.roi_heads.box_head.fc6


def _pooled(
    source: FasterRCNN, target: FasterRCNN, levels: Sequence[list[Tensor]], batch: ImageList
) -> tuple[Tensor, Tensor]:
    """Return the smaller network's pooled features, and what the larger one makes of its own."""
    objectness, deltas = source.rpn(levels[0])
    features = [d.roi_heads.features(own) for d, own in zip((source, target), levels, strict=True)]
    maps = DenseMaps(features[0], tuple(objectness), tuple(deltas))
    height, width = batch.tensors.shape[2:]
    proposals = source.decoder.propose(maps, (height, width), batch.image_sizes)
    old, new = (
        source.decoder.pool(own, proposals.boxes, proposals.rows).flatten(1) for own in features
    )
    return new, source.roi_heads.box_head.fc6(old)


def _importance(source: FasterRCNN, levels: list[Tensor]) -> list[Tensor]:
    """Return how often each cell of each level counts."""
    objectness, _ = source.rpn(levels)
    likely = [(level.sigmoid().amax(1).flatten() > LIKELY).float() for level in objectness]
    return [1.0 + (LIKELY_WEIGHT - 1.0) * level for level in likely]


def _patches(maps: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return ``(N, C * k * k)``: what a convolution with these options sees at each cell."""
    side = cast("tuple[int, int]", convolution.kernel_size)
    padding = cast("tuple[int, int]", convolution.padding)
    return F.unfold(maps, side, padding=padding).transpose(1, 2).flatten(0, 1)


def _rows(maps: Tensor) -> Tensor:
    """Return ``(B * H * W, C)`` for ``(B, C, H, W)``."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _drawn(*columns: Tensor) -> tuple[Tensor, ...]:
    """Return the same ``MOST_ROWS`` rows of each, drawn at random."""
    count = len(columns[0])
    if count <= MOST_ROWS:
        return columns
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:MOST_ROWS]
    return tuple(column[drawn] for column in columns)
