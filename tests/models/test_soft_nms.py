import math

import torch
from head_detection.models.soft_nms import gaussian_soft_nms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou


def one_by_one(boxes: Tensor, scores: Tensor, sigma: float) -> list[tuple[int, float]]:
    """Take the best, lower the others, repeat: the paper's loop in plain Python."""
    left = {index: float(score) for index, score in enumerate(scores)}
    order = []
    while left:
        best = max(left, key=lambda index: (left[index], -index))
        order.append((best, left.pop(best)))
        for other in left:
            iou = box_iou(boxes[best : best + 1], boxes[other : other + 1]).item()
            left[other] *= math.exp(-(iou**2) / sigma)
    return order


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_boxes_and_scores_stay_together(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 20
    boxes = torch.cat((corners, corners + 5 + torch.rand(count, 2, generator=generator) * 10), 1)
    scores = torch.rand(count, generator=generator)
    keep, lowered = gaussian_soft_nms(boxes, scores, sigma=0.25, score_threshold=0.0)
    expected = [pair for pair in one_by_one(boxes, scores, 0.25) if pair[1] > 0]
    assert keep.tolist() == [index for index, _ in expected]
    torch.testing.assert_close(lowered, torch.tensor([score for _, score in expected]))


def test_lowered_scores_by_hand() -> None:
    # IoU of the first two is 1/3: the second keeps exp(-(1/9) / 0.25) of its score.
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    keep, lowered = gaussian_soft_nms(
        boxes, torch.tensor([0.5, 0.4, 0.3]), sigma=0.25, score_threshold=0.001
    )
    assert keep.tolist() == [0, 2, 1]
    torch.testing.assert_close(lowered, torch.tensor([0.5, 0.3, 0.4 * math.exp(-4 / 9)]))


def test_threshold_and_nothing() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    keep, _ = gaussian_soft_nms(boxes, torch.tensor([0.9, 0.8]), sigma=0.25, score_threshold=0.1)
    assert keep.tolist() == [0]
    keep, scores = gaussian_soft_nms(
        torch.zeros(0, 4), torch.zeros(0), sigma=0.25, score_threshold=0.1
    )
    assert (len(keep), len(scores)) == (0, 0)


def test_a_gpu_is_not_waited_for_box_by_box(count_waits) -> None:
    boxes = torch.tensor([[k, 0.0, k + 10, 10] for k in range(20)])
    scores = torch.linspace(0.9, 0.1, 20)
    # Two masks at the end.
    assert count_waits(lambda: gaussian_soft_nms(boxes, scores, sigma=0.5, score_threshold=0)) == 2
