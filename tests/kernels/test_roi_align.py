"""RoIAlign in a kernel, beside the sums of table rows."""

import math

import pytest
import torch
from torch import Tensor

from head_detection.kernels.roi_align import pool
from head_detection.models.roi_align import PyramidRoIAlign

STRIDES = (4.0, 8.0, 16.0)
SIZES = ((20, 25), (10, 13), (5, 7))


def pooled_by_kernel(features: list[Tensor], boxes: Tensor, image: Tensor, device) -> Tensor:
    """Return ``(M, C, 7, 7)`` as ``PyramidRoIAlign`` asks for it."""
    channels, start, levels = features[0].shape[1], 0, []
    for stride, (height, width) in zip(STRIDES, SIZES, strict=True):
        levels.append((height, width, start, 1 / stride, math.log2(stride)))
        start += len(features[0]) * height * width
    rows = [level.permute(0, 2, 3, 1).reshape(-1, channels) for level in features]
    numbers = torch.tensor(levels, dtype=torch.float64, device=device)
    there = (torch.cat(rows).to(device), boxes.to(device), image.to(device), numbers)
    found = pool(*there, 7, 2, 112)
    return found.view(len(boxes), 7, 7, channels).permute(0, 3, 1, 2).cpu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_boxes_of_all_levels_and_beyond_the_map(device, dtype) -> None:
    features = [torch.randn(2, 24, *size).to(dtype) for size in SIZES]
    corners = torch.rand(12, 2) * 60
    boxes = torch.cat((corners, corners + 1 + torch.rand(12, 2) * 100), dim=1)
    boxes[0], boxes[1] = torch.nan, torch.tensor([-50, -50, 300, 300.0])
    boxes[2] = torch.tensor([0, 0, 28, 28.0])  # exactly of stride 4's scale
    boxes[3] = torch.tensor([0, 0, 56, 56.0])  # of stride 8's
    align, image = PyramidRoIAlign(STRIDES, 7, 2, 112), torch.arange(12) % 2
    assert set(align.level_of(boxes).tolist()) == {0, 1, 2}
    expected = align([level.float() for level in features], boxes, image)
    found = pooled_by_kernel(features, boxes, image, device)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=2e-3, atol=2e-3)


def test_a_slope_by_hand(device) -> None:
    # Each pixel holds its column: a cell's mean is the column of its middle.
    features = [torch.arange(float(size[1])).expand(1, 8, *size).clone() for size in SIZES]
    boxes = torch.tensor([[16, 16, 44, 44.0]])  # columns 4 to 11: cells one column wide
    found = pooled_by_kernel(features, boxes, torch.zeros(1, dtype=torch.int64), device)
    assert found[0, 0, 0].tolist() == pytest.approx([4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5])


def test_no_boxes(device) -> None:
    features = [torch.zeros(1, 8, *size) for size in SIZES]
    none = torch.zeros(0, dtype=torch.int64)
    assert pooled_by_kernel(features, torch.zeros(0, 4), none, device).shape == (0, 8, 7, 7)
