import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from head_detection.models.nms import EMPTY
from head_detection.models.suppression import Candidates, SoftNms, Suppression, gaussian_soft_nms

PLAIN = Suppression(0.1, 0.5, 1000)
ALL = (0.0, math.inf)
both_ways = pytest.mark.parametrize("waits", [True, False])


def rows(*values):
    found = torch.tensor(values).reshape(1, -1, 5)
    return found[..., :4], found[..., 4]


def views(*parts):
    """The candidates of one picture from several views: sizes and rows of each."""
    boxes, scores = zip(*(rows(*found) for _, found in parts), strict=True)
    view = torch.cat([torch.full((own.shape[1],), k) for k, own in enumerate(scores)])
    sizes = torch.tensor([[own for own, _ in parts]])
    return Candidates(torch.cat(boxes, 1), torch.cat(scores, 1), view[None], sizes)


def suppress(candidates, suppression=PLAIN, *, waits=True):
    """Boxes and scores of the only picture."""
    heads = suppression(candidates, waits=waits)
    is_head = heads.scores[0] > EMPTY
    assert is_head.tolist() == sorted(is_head.tolist(), reverse=True)
    return heads.boxes[0, is_head].tolist(), heads.scores[0, is_head].tolist()


@both_ways
def test_the_best_of_each_head_stays_by_falling_score(waits):
    found = rows(
        (0.0, 0, 10, 10, 0.8), (30, 30, 40, 40, 0.6), (1, 0, 11, 10, 0.9), (0, 0, 0, 0, EMPTY)
    )
    boxes, scores = suppress(Candidates(*found), waits=waits)
    assert boxes == [[1, 0, 11, 10], [30, 30, 40, 40]]
    assert scores == pytest.approx([0.9, 0.6])
    one, _ = suppress(Candidates(*found), replace(PLAIN, limit=1), waits=waits)
    assert one == [[1, 0, 11, 10]]


@both_ways
def test_pictures_of_a_batch_are_apart(waits):
    (boxes, scores), (none, lowest) = rows((0.0, 0, 9, 9, 0.9)), rows((0.0, 0, 0, 0, EMPTY))
    batch = Candidates(torch.cat((boxes, none, boxes)), torch.cat((scores, lowest, scores - 0.5)))
    heads = PLAIN(batch, waits=waits)
    torch.testing.assert_close(heads.scores, torch.tensor([[0.9], [EMPTY], [0.4]]))


@both_ways
@pytest.mark.parametrize("count", [0, 2])
def test_nothing_is_found_in_nothing(count, waits):
    empty = Candidates(torch.zeros(2, count, 4), torch.full((2, count), EMPTY))
    for suppression in (PLAIN, replace(PLAIN, voting_iou_threshold=0.5, soft_nms=SoftNms(0.5, 0))):
        assert not (suppression(empty, waits=waits).scores > EMPTY).any()


@both_ways
def test_votes_place_a_box_by_hand(waits):
    found = rows(
        (0.0, 0, 10, 10, 0.75), (0, 0, 10, 8, 0.25), (0, 0, 10, 5.5, 0.9), (50, 50, 60, 60, 0.5)
    )
    # The third is apart (IoU .55 and .6875, no more than .7); 0.8 of the first votes for it.
    suppression = replace(PLAIN, nms_iou_threshold=0.7, voting_iou_threshold=0.8)
    boxes, scores = suppress(Candidates(*found), suppression, waits=waits)
    assert boxes == [[0, 0, 10, 5.5], [0, 0, 10, 9.5], [50, 50, 60, 60]]
    assert scores == pytest.approx([0.9, 0.75, 0.5])


def test_a_box_votes_for_itself_if_nothing_else_does():
    found = rows((5.0, 5, 5, 5, 0.9), (0, 0, 9, 9, 0.8))  # without area it overlaps nothing
    boxes, _ = suppress(Candidates(*found), replace(PLAIN, voting_iou_threshold=0.5))
    assert boxes == [[5, 5, 5, 5], [0, 0, 9, 9]]


def test_places_keep_their_digits_under_autocast():
    found = rows((1000.25, 0, 1010, 10, 0.9), (1000.25, 0, 1010, 10, 0.9))
    with torch.autocast("cpu", torch.bfloat16):
        boxes, _ = suppress(Candidates(*found), replace(PLAIN, voting_iou_threshold=0.5))
    assert boxes == [[1000.25, 0, 1010, 10]]


@both_ways
def test_a_score_is_the_mean_of_the_views_by_hand(waits):
    first = [(0.0, 0, 10, 10, 0.9), (0.0, 1, 10, 10, 0.8), (30.0, 30, 40, 40, 0.6)]
    second = [(0.0, 0, 10, 9, 0.5), (60.0, 60, 70, 70, 0.7)]
    boxes, scores = suppress(views((ALL, first), (ALL, second)), waits=waits)
    assert boxes == [[0, 0, 10, 10], [60, 60, 70, 70], [30, 30, 40, 40]]
    # (.9 + .5) / 2, and half of what one view alone found.
    assert scores == pytest.approx([0.7, 0.35, 0.3])


def test_a_view_has_no_say_over_heads_that_are_not_its_own():
    first = [(0.0, 0, 90, 90, 0.9), (0.0, 200, 46, 246, 0.8), (200.0, 0, 240, 40, 0.6)]
    _, scores = suppress(views((ALL, first), ((0.0, 48.0), [])))
    # 46 pixels are more than nine tenths of 48: the second view may have measured them as 49.
    assert scores == pytest.approx([0.9, 0.8, 0.3])


def test_a_view_for_large_heads_has_no_say_over_small_ones():
    first = [(0.0, 0, 26, 26, 0.9), (100.0, 0, 127, 27, 0.8)]
    _, scores = suppress(views((ALL, first), ((24.0, math.inf), [])))
    # Nine tenths of 26 pixels are less than 24: the second view may have measured them as 23.
    assert scores == pytest.approx([0.9, 0.4])


def test_a_view_that_was_not_made_has_no_say():
    first = [(0.0, 0, 26, 26, 0.9)]
    assert suppress(views((ALL, first), ((math.inf, math.inf), [])))[1] == pytest.approx([0.9])


def test_what_the_views_hardly_believe_is_left_out():
    found = views((ALL, [(0.0, 0, 9, 9, 0.19)]), ((0.0, 48.0), []))
    assert suppress(found) == ([], [])


def test_a_neighbour_does_not_lend_its_score():
    """A box that suppression took for one head says nothing about the next one."""
    head, neighbour = (0.0, 0, 10, 10, 0.9), (4.0, 0, 14, 10, 0.2)  # IoU 6 / 14
    between = (2.0, 0, 12, 10, 0.8)  # IoU 8 / 12 with both
    found = views((ALL, [head, neighbour]), ((0.0, 48.0), [between]))
    assert suppress(found)[1] == pytest.approx([0.85])
    assert suppress(found, replace(PLAIN, score_threshold=0.05))[1] == pytest.approx([0.85, 0.1])


def test_boxes_past_the_limit_lend_nothing_either():
    first = [(0.0, 0, 10, 10, 0.9), (50.0, 50, 60, 60, 0.8)]
    found = views((ALL, first), ((0.0, 48.0), [(50.0, 50, 60, 59, 0.7)]))
    assert suppress(found, replace(PLAIN, limit=1))[1] == pytest.approx([0.45])


def test_views_that_found_nothing_find_nothing():
    assert suppress(views((ALL, []), ((0.0, 48.0), []))) == ([], [])


def test_a_box_of_no_area_keeps_its_own_score():
    first = [(5.0, 5, 5, 5, 0.8), (0.0, 0, 9, 9, 0.9)]
    assert suppress(views((ALL, first), ((0.0, 1.0), [])))[1] == pytest.approx([0.9, 0.4])


def test_a_table_in_parts_gives_the_same(monkeypatch):
    torch.manual_seed(0)
    corners = torch.rand(2, 200, 2) * 90
    boxes = torch.cat((corners, corners + 8 + 8 * torch.rand(2, 200, 2)), dim=2)
    view = torch.arange(200).expand(2, -1) % 2
    sizes = torch.tensor([ALL, (0.0, 48.0)]).expand(2, -1, -1)
    found = Candidates(boxes, torch.rand(2, 200), view, sizes)
    suppression = replace(PLAIN, voting_iou_threshold=0.6)
    whole = suppression(found, waits=True)
    monkeypatch.setattr("head_detection.models.nms.MATRIX_PAIRS", 1000)
    for waits in (True, False):
        parts = suppression(found, waits=waits)
        width = whole.scores.shape[1]
        torch.testing.assert_close(parts.scores[:, :width], whole.scores)
        torch.testing.assert_close(parts.boxes[:, :width], whole.boxes)


@pytest.mark.parametrize("voting", [None, 0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("soft_nms", [None, SoftNms(0.5, 0.1)])
@pytest.mark.parametrize("is_seen_twice", [True, False])
def test_lists_of_pairs_agree_with_tables(voting, soft_nms, is_seen_twice, monkeypatch):
    torch.manual_seed(0)
    corners = torch.rand(3, 200, 2) * 60
    boxes = torch.cat((corners, corners + 8 + 8 * torch.rand(3, 200, 2)), dim=2)
    scores = torch.rand(3, 200)
    scores[1, ::3] = EMPTY
    boxes[1, ::3] = 0
    scores[2] = EMPTY
    view = torch.arange(200).expand(3, -1) % 2
    sizes = torch.tensor([ALL, (0.0, 48.0)]).expand(3, -1, -1)
    seen = (view, sizes) if is_seen_twice else ()
    suppression = replace(PLAIN, voting_iou_threshold=voting, soft_nms=soft_nms)
    ours = suppression(Candidates(boxes, scores, *seen), waits=True)
    monkeypatch.setattr("head_detection.models.agreement.pairs_of_groups", lambda *_: None)
    theirs = suppression(Candidates(boxes, scores, *seen), waits=True)
    torch.testing.assert_close(ours, theirs)
    counts = (ours.scores > EMPTY).sum(dim=1)
    assert (counts > 50).tolist() == [True, True, False]
    assert counts[2] == 0


def test_soft_nms_gives_scores_of_its_own():
    found = views((ALL, [(0.0, 0, 10, 10, 0.9)]), ((0.0, 48.0), []))
    soft = replace(PLAIN, soft_nms=SoftNms(0.5, 0.001))
    assert suppress(found, soft)[1] == pytest.approx([0.9])


def test_soft_nms_keeps_the_overlapping_box_with_a_lower_score():
    found = Candidates(*rows((0.0, 0, 10, 10, 0.9), (0, 0, 10, 10, 0.8)))
    _, scores = suppress(found, replace(PLAIN, soft_nms=SoftNms(0.5, 0.001)))
    assert scores == pytest.approx([0.9, 0.8 * math.exp(-2)])


def one_by_one(boxes, scores, sigma):
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
def test_boxes_and_scores_of_soft_nms_stay_together(seed, count):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, count, 2, generator=generator) * 20
    sides = 5 + torch.rand(2, count, 2, generator=generator) * 10
    boxes = torch.cat((corners, corners + sides), dim=2)
    scores = torch.rand(2, count, generator=generator)
    kept, lowered = gaussian_soft_nms(boxes, scores, SoftNms(0.25, 0.0), 100)
    for picture in range(2):
        expected = one_by_one(boxes[picture], scores[picture], 0.25)
        assert kept[picture].tolist() == [index for index, _ in expected]
        values = torch.tensor([score for _, score in expected])
        torch.testing.assert_close(lowered[picture].clamp(min=0), values)


def test_lowered_scores_and_their_threshold_by_hand():
    # IoU of the first two is 1/3: the second keeps exp(-(1/9) / 0.25) of its score.
    boxes, scores = rows((0.0, 0, 10, 10, 0.5), (5, 0, 15, 10, 0.4), (50, 50, 60, 60, 0.3))
    kept, lowered = gaussian_soft_nms(boxes, scores, SoftNms(0.25, 0.001), 10)
    assert kept.tolist() == [[0, 2, 1]]
    torch.testing.assert_close(lowered, torch.tensor([[0.5, 0.3, 0.4 * math.exp(-4 / 9)]]))
    _, lowered = gaussian_soft_nms(boxes, scores, SoftNms(0.25, 0.29), 10)
    assert (lowered > EMPTY).tolist() == [[True, True, False]]
    assert gaussian_soft_nms(boxes, scores, SoftNms(0.25, 0.001), 2)[0].tolist() == [[0, 2]]


@pytest.mark.parametrize("soft_nms", [None, SoftNms(0.5, 0.001)])
def test_a_gpu_is_not_waited_for(count_waits, soft_nms):
    found = views((ALL, [(0.0, 0, 9, 9, 0.9)] * 9), ((0.0, 48.0), [(0.0, 0, 9, 9, 0.9)]))
    suppression = replace(PLAIN, voting_iou_threshold=0.5, soft_nms=soft_nms)
    assert count_waits(lambda: suppression(found, waits=False)) == 0


@both_ways
@pytest.mark.parametrize("soft_nms", [None, SoftNms(0.5, 0.1)])
def test_a_growing_limit_is_that_of_a_gpu_alone(waits, soft_nms):
    apart = Candidates(*rows(*((20 * k, 0, 20 * k + 10, 10, 0.9 - k / 10) for k in range(5))))
    growing = replace(PLAIN, limit=3, soft_nms=soft_nms, grows=True)
    heads = growing(apart, waits=waits)
    assert (heads.scores > EMPTY).sum() == (5 if waits else 3)
    if not waits:
        assert not heads.is_settled
        roomy = replace(growing, limit=6)(apart, waits=False)
        assert roomy.is_settled is None or roomy.is_settled
    assert (replace(growing, grows=False)(apart, waits=waits).scores > EMPTY).sum() == 3
