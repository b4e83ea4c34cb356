"""Suppression and voting in kernels, beside PyTorch's operators."""

import pytest
import torch
from torch import Tensor

from head_detection.kernels.suppression import first_overlap, greedy_keep, vote
from head_detection.models import suppression as tables
from head_detection.models.nms import greedy_nms, iou_matrix

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # 0 / 0, as there


def boxes_of(groups: int, count: int) -> Tensor:
    corners = torch.rand(groups, count, 2) * 60
    return torch.cat((corners, corners + torch.rand(groups, count, 2) * 20 + 3), dim=2)


def scores_of(groups: int, count: int) -> Tensor:
    return torch.rand(groups, count).sort(dim=1, descending=True).values


def test_a_box_between_two_is_dropped_and_the_third_stays(device) -> None:
    # IoU of neighbours is 6/14 = .43; of the outer two 2/18 = .11.
    boxes = torch.tensor([[[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10.0]]])
    scores = torch.tensor([[0.9, 0.8, 0.7]])
    for threshold, kept in ((0.4, [True, False, True]), (0.45, [True, True, True])):
        found = greedy_keep(boxes.to(device), scores.to(device), threshold)
        assert found.tolist() == [kept]


def test_a_chain_of_forty_is_followed_to_its_end(device) -> None:
    boxes = torch.tensor([[[4.0 * n, 0, 4.0 * n + 10, 10] for n in range(40)]])
    found = greedy_keep(boxes.to(device), scores_of(1, 40).to(device), 0.4)
    assert found.tolist() == [[n % 2 == 0 for n in range(40)]]


@pytest.mark.parametrize(("groups", "count"), [(1, 1), (2, 32), (3, 33), (2, 150)])
def test_kept_boxes_are_those_of_sequential_suppression(device, groups, count) -> None:
    boxes, scores = boxes_of(groups, count), scores_of(groups, count)
    scores[:, count - count // 8 :] = -1
    boxes[:, count - count // 8 :] = 0
    expected, _ = greedy_nms(boxes, scores, 0.5, waits=True)
    assert torch.equal(greedy_keep(boxes.to(device), scores.to(device), 0.5).cpu(), expected)


def test_no_boxes_and_boxes_that_are_no_numbers(device) -> None:
    assert greedy_keep(boxes_of(2, 0).to(device), scores_of(2, 0).to(device), 0.5).shape == (2, 0)
    boxes = boxes_of(1, 3)
    boxes[0, 1] = torch.nan
    assert greedy_keep(boxes.to(device), scores_of(1, 3).to(device), 0.0)[0, 1]


def test_votes_and_first_overlaps_are_those_of_the_tables(device) -> None:
    boxes, scores = boxes_of(2, 70), scores_of(2, 70)
    scores[:, -4:], boxes[:, -4:] = -1, 0
    kept = torch.stack([torch.randperm(66)[:20].sort().values for _ in range(2)])
    is_head = torch.rand(2, 20) > 0.2
    heads = tables.gather_boxes(boxes, kept)
    overlaps = iou_matrix(heads, boxes)
    there = [value.to(device) for value in (heads, kept, is_head, boxes)]
    expected = tables.vote(overlaps, tables.Candidates(boxes, scores), is_head, kept, 0.65)
    torch.testing.assert_close(vote(*there, scores.to(device), 0.65).cpu(), expected)
    expected = tables.first_overlap(overlaps, is_head, kept, 0.4)
    assert torch.equal(first_overlap(*there, 0.4).cpu(), expected)


def test_a_vote_by_hand(device) -> None:
    # .75 of the first and .25 of the second, which overlaps it by 8/10.
    boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60.0]]], device=device)
    scores = torch.tensor([[0.75, 0.25, 0.9]], device=device)
    kept = torch.tensor([[0, 2]], device=device)
    placed = vote(boxes[:, [0, 2]], kept, kept >= 0, boxes, scores, 0.5)
    assert placed.tolist() == [[[0, 0, 10, 9.5], [50, 50, 60, 60]]]


def test_of_no_heads_there_are_no_votes(device) -> None:
    boxes, kept = boxes_of(1, 3).to(device), torch.zeros(1, 0, dtype=torch.int64, device=device)
    placed = vote(boxes[:, :0], kept, kept > 0, boxes, scores_of(1, 3).to(device), 0.5)
    assert placed.shape == (1, 0, 4)
    assert first_overlap(boxes[:, :0], kept, kept > 0, boxes, 0.5).tolist() == [[-1, -1, -1]]
