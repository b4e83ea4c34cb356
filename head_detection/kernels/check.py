"""Comparing each kernel with PyTorch's operators on a few numbers, before it is relied on."""

from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor
from torchvision.ops import box_iou, nms, roi_align

from head_detection.kernels.convolution import RELU6, Placement, depthwise, pointwise, stem
from head_detection.kernels.roi_align import pool
from head_detection.kernels.suppression import first_overlap, greedy_keep, vote

TOLERANCE: Final = 1e-2
"""Of half precision, for values near 1."""
BOXES: Final = 70
"""More than two words of bits hold."""
HEADS: Final = 12
THRESHOLD: Final = 0.3
CHANNELS: Final = 24
SIDE: Final = 12
"""Of a small map."""


def find_fault(device: torch.device) -> str | None:
    """Return which kernel computes something else than PyTorch, None if none does.

    Raises:
        Exception: of any type, where a kernel cannot be compiled or launched.
    """
    numbers = torch.Generator().manual_seed(0)
    for name, found, expected in _pairs(device, numbers):
        is_same = found.shape == expected.shape and torch.allclose(
            found.float().cpu(), expected.float().cpu(), rtol=TOLERANCE, atol=TOLERANCE
        )
        if not is_same:
            return f"{name} differs from PyTorch's"
    return None


def _pairs(device: torch.device, numbers: torch.Generator) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name of a kernel, what it computes, and what PyTorch does."""
    boxes = _some_boxes(numbers)
    scores = torch.rand(BOXES, generator=numbers).sort(descending=True).values
    kept = nms(boxes, scores, THRESHOLD)
    expected = torch.zeros(BOXES, dtype=torch.bool).index_fill(0, kept, value=True)
    there, own = boxes[None].to(device), scores[None].to(device)
    yield "greedy_keep", greedy_keep(there, own, THRESHOLD)[0], expected
    yield from _agreements(boxes, scores, kept[:HEADS], device)
    features = torch.rand(1, CHANNELS, SIDE, SIDE, generator=numbers)
    table = features.permute(0, 2, 3, 1).reshape(-1, CHANNELS).to(device)
    level = torch.tensor([[SIDE, SIDE, 0, 0.25, 2]], dtype=torch.float64, device=device)
    pooled = pool(table, there[0], torch.zeros_like(own[0], dtype=torch.int64), level, 7, 2, 224)
    expected = roi_align(features, [boxes], 7, 0.25, 2).flatten(2).transpose(1, 2)
    yield "pool", pooled, expected
    yield from _convolutions(features, device, numbers)


def _some_boxes(numbers: torch.Generator) -> Tensor:
    corners = torch.rand(BOXES, 2, generator=numbers) * 30
    return torch.cat((corners, corners + 4 + torch.rand(BOXES, 2, generator=numbers) * 14), dim=1)


def _agreements(
    boxes: Tensor, scores: Tensor, kept: Tensor, device: torch.device
) -> Iterator[tuple[str, Tensor, Tensor]]:
    overlaps = box_iou(boxes[kept], boxes)
    weights = (overlaps >= THRESHOLD) * scores
    expected = weights @ boxes / weights.sum(dim=1, keepdim=True)
    is_head = torch.ones(1, len(kept), dtype=torch.bool)
    heads, places = boxes[kept][None].to(device), kept[None].to(device)
    there = (heads, places, is_head.to(device), boxes[None].to(device))
    yield "vote", vote(*there, scores[None].to(device), THRESHOLD)[0], expected
    is_over = overlaps > THRESHOLD
    expected = is_over.int().argmax(dim=0).masked_fill(~is_over.any(dim=0), -1)
    yield "first_overlap", first_overlap(*there, THRESHOLD)[0], expected


def _convolutions(
    features: Tensor, device: torch.device, numbers: torch.Generator
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the convolutions, of half precision; those of stride 2 have their padding behind."""
    maps = features.half().to(device, memory_format=torch.channels_last)
    exact, bias = maps.float().cpu(), torch.rand(CHANNELS, generator=numbers) - 0.5
    there = bias.to(device)
    weight = (torch.rand(CHANNELS, CHANNELS, generator=numbers) - 0.5).half()
    found = pointwise(maps, weight.to(device), there, RELU6)
    yield "pointwise", found, F.relu6(F.conv2d(exact, weight.float()[..., None, None], bias))
    taps = (torch.rand(9, CHANNELS, generator=numbers) - 0.5).half()
    placement = Placement(2, 0, 0, SIDE // 2, SIDE // 2)
    found = depthwise(maps, taps.to(device), there, RELU6, placement)
    weight = taps.float().T.reshape(CHANNELS, 1, 3, 3)
    behind = F.pad(exact, (0, 1, 0, 1))
    expected = F.conv2d(behind, weight, bias, stride=2, groups=CHANNELS)
    yield "depthwise", found, F.relu6(expected)
    picture = maps[:, :3].contiguous(memory_format=torch.channels_last)
    taps = (torch.rand(27, CHANNELS, generator=numbers) - 0.5).half()
    found = stem(picture, taps.to(device), there, RELU6, placement)
    weight = taps.float().view(3, 3, 3, CHANNELS).permute(3, 2, 0, 1)
    yield "stem", found, F.relu6(F.conv2d(behind[:, :3], weight, bias, stride=2))
