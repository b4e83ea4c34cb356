import time

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, nms

from head_detection.models import nms as nms_module
from head_detection.models.nms import EMPTY, greedy_nms, iou_matrix, keep_boxes, reach


def crowd(count, heads, extent, seed=0):
    """Boxes of 20 to 40 pixels, several around each of some heads."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(heads, 2, generator=generator) * extent
    sides = 20 + 20 * torch.rand(heads, 1, generator=generator)
    of = torch.randint(heads, (count,), generator=generator)
    centres = centres[of] + 2 * torch.randn(count, 2, generator=generator)
    halves = sides[of] * (1 + 0.1 * torch.randn(count, 1, generator=generator)) / 2
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    return torch.cat((centres - halves, centres + halves), dim=1), scores


@pytest.mark.parametrize("waits", [True, False])
def test_the_second_of_a_chain_goes_and_the_third_stays_by_hand(waits):
    # Each overlaps the next by 6 / 14; with the second gone, nothing suppresses the third.
    boxes = torch.tensor([[[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [0, 0, 0, 0]]])
    scores = torch.tensor([[0.9, 0.8, 0.7, EMPTY]])
    kept, _ = greedy_nms(boxes, scores, 0.4, waits=waits)
    assert kept.tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("waits", [True, False])
def test_a_threshold_that_is_met_suppresses_nothing(waits):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 5]]])  # IoU 1/2 exactly
    assert greedy_nms(boxes, torch.tensor([[0.9, 0.8]]), 0.5, waits=waits)[0].all()
    assert not greedy_nms(boxes, torch.tensor([[0.9, 0.8]]), 0.49, waits=waits)[0].all()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_both_ways_keep_what_torchvision_keeps_group_by_group(threshold):
    groups = [crowd(300, heads, 300, heads) for heads in (1, 40, 300)]
    boxes, scores = (torch.stack(parts) for parts in zip(*groups, strict=True))
    scores[1, 200:] = EMPTY  # the second group has fewer
    expected = torch.zeros(3, 300, dtype=torch.bool)
    for group, count in enumerate((300, 200, 300)):
        own = nms(boxes[group, :count], scores[group, :count], threshold)
        expected[group, own] = True
    exact, is_settled = greedy_nms(boxes, scores, threshold, waits=True)
    assert is_settled is None
    assert torch.equal(exact, expected)
    in_rounds, is_settled = greedy_nms(boxes, scores, threshold, waits=False)
    assert bool(is_settled)
    assert torch.equal(in_rounds, expected)


@pytest.mark.parametrize("few", [0, 100])
def test_a_chain_longer_than_the_rounds_is_not_called_settled(few, monkeypatch):
    monkeypatch.setattr(nms_module, "FEW", few)
    left = torch.arange(40.0) * 4
    boxes = torch.stack((left, left * 0, left + 10, left * 0 + 10), dim=1)[None]
    scores = torch.linspace(0.9, 0.1, 40)[None]
    exact, _ = greedy_nms(boxes, scores, 0.4, waits=True)
    assert exact[0].tolist() == [True, False] * 20
    kept, is_settled = greedy_nms(boxes, scores, 0.4, waits=False)
    assert not is_settled
    assert kept[0, :12].tolist() == [True, False] * 6


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("shape", [(2, 0), (1, 1)])
def test_nothing_stays_of_nothing(shape, waits):
    empty = torch.full(shape, EMPTY)
    assert not greedy_nms(torch.zeros(*shape, 4), empty, 0.5, waits=waits)[0].any()


def test_groups_far_from_the_origin_keep_their_digits():
    # Two boxes of IoU 3.2 / 4.8; with 600 groups of 4,000 pixels float32 has a quarter of a pixel.
    pair = torch.tensor([[0.0, 0, 4, 4], [0.8, 0, 4.8, 4], [3996, 0, 4000, 4]])
    boxes, scores = pair.expand(600, 3, 4), torch.tensor([0.9, 0.8, 0.7]).expand(600, 3)
    kept, _ = greedy_nms(boxes, scores, 0.6666, waits=True)
    assert torch.equal(kept, torch.tensor([True, False, True]).expand(600, 3))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.7, 0.95, 1.0])
@pytest.mark.parametrize(("heads", "extent"), [(2, 300), (900, 3000), (6000, 300)])
def test_a_list_of_near_pairs_gives_what_the_operator_gives(heads, extent, threshold, monkeypatch):
    boxes, scores = crowd(2000, heads, extent)
    boxes[::100, 2:] += 900  # some are 30 times as large
    boxes[::77, 2] = boxes[::77, 0]  # some have no width
    boxes[1::77] = boxes[2::77][: len(boxes[1::77])]  # and some are the same
    monkeypatch.setattr(nms_module, "NEAR_AT_ONCE", 10_000)
    monkeypatch.setattr(nms_module, "NEAR_SHARE", 1)
    arrays = boxes.double().numpy(), scores.double().numpy()
    expected = nms(boxes.double(), scores.double(), threshold).numpy()
    with monkeypatch.context() as context:
        context.setattr(nms_module, "nms", None)
        np.testing.assert_array_equal(keep_boxes(*arrays, threshold), expected)
    monkeypatch.setattr(nms_module, "MOST_NEAR", 10)
    np.testing.assert_array_equal(keep_boxes(*arrays, threshold), expected)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7, 0.9])
def test_boxes_that_overlap_by_more_than_the_threshold_touch_when_shrunk(threshold):
    generator = np.random.default_rng(0)
    sides = np.exp(generator.normal(0, 1, (2, 10**6, 2)) * (1 - threshold))
    shift = generator.uniform(-1, 1, (10**6, 2)) * (1 - threshold)
    sides[:, ::2, 1], shift[::2, 1] = 1, 0  # half of the pairs are of one height, side by side
    apart = (np.minimum(*sides), sides.sum(axis=0) / 2 - np.abs(shift))
    shared = np.minimum(*apart).clip(min=0).prod(axis=1)
    iou = shared / (sides.prod(axis=2).sum(axis=0) - shared)
    distance = (np.abs(shift) / sides.mean(axis=0)).max(axis=1)[iou > threshold]
    assert len(distance) > 10_000
    assert distance.max() <= reach(threshold)
    assert distance.max() > 0.8 * reach(threshold)  # boxes cannot shrink much more


def test_a_crowd_is_not_left_to_the_operator(monkeypatch):
    boxes, scores = crowd(2400, 150, 700)
    monkeypatch.setattr(nms_module, "nms", None)
    assert greedy_nms(boxes[None], scores[None], 0.7, waits=True)[0].any()


@pytest.mark.parametrize(("heads", "extent"), [(3000, 8000), (11000, 2000), (200, 2000), (1, 500)])
def test_33000_overlapping_boxes_are_merged_soon(heads, extent):
    boxes, scores = crowd(33_000, heads, extent)
    start = time.process_time()
    greedy_nms(boxes[None], scores[None], 0.5, waits=True)
    # A second on one core that has nothing else to do; ten times as long is another algorithm.
    assert time.process_time() - start < 10


def test_overlaps_are_torchvisions():
    boxes, _ = crowd(50, 5, 100)
    other, _ = crowd(20, 5, 100, seed=1)
    torch.testing.assert_close(
        iou_matrix(boxes.view(1, 50, 4), other.view(1, 20, 4))[0], box_iou(boxes, other)
    )


def test_rounds_wait_for_no_gpu(count_waits):
    boxes, scores = crowd(50, 5, 100)
    assert count_waits(lambda: greedy_nms(boxes[None], scores[None], 0.5, waits=False)) == 0


def test_boxes_that_begin_beside_each_other_are_not_compared():
    """900 boxes of 10 pixels in a grid of 20: each is beyond the columns of the one before it."""
    left, top = np.meshgrid(np.arange(30) * 20.0, np.arange(30) * 20.0)
    corners = np.stack([left.ravel(), top.ravel()], axis=1)
    pairs = nms_module._near_pairs(np.concatenate([corners, corners + 10], axis=1), 0.0, 1)
    assert pairs is not None
    assert sum(len(first) for first, _ in pairs) == 0
