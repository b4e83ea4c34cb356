from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from head_detection.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    Overlap,
    Pairs,
    heaviest_pairs,
    match_detections,
    most_pairs,
)
from head_detection.structures import Detections, GroundTruth

SIZE = (100, 100)


def truth_of(boxes, ignore=None):
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(len(array), bool) if ignore is None else np.array(ignore, bool)
    return GroundTruth(array, flags)


def found_of(boxes, scores):
    return Detections.from_arrays(boxes, scores, SIZE)


def test_a_pair_at_the_threshold_matches():
    half = found_of([[0, 0, 10, 5]], [0.9])
    assert match_detections(half, truth_of([[0, 0, 10, 10]])).found.tolist() == [0]
    assert match_detections(half, truth_of([[0, 0, 10, 10]]), 0.51).found.tolist() == [-1]


def test_the_better_score_takes_the_head_and_the_next_takes_the_other():
    # Both detections overlap head 0 most (IoU 1 and .8); only the first can have it.
    heads = truth_of([[0, 0, 10, 10], [0, 0, 10, 6]])
    found = found_of([[0, 0, 10, 10], [0, 0, 10, 8]], [0.9, 0.8])
    assert match_detections(found, heads).found.tolist() == [0, 1]


def test_a_second_detection_of_a_head_is_false():
    found = found_of([[0, 0, 10, 10], [0, 0, 10, 9]], [0.9, 0.8])
    matching = match_detections(found, truth_of([[0, 0, 10, 10]]))
    assert matching.found.tolist() == [0, FALSE_POSITIVE]


def test_many_detections_may_fall_into_an_ignore_region():
    heads = truth_of([[0, 0, 50, 50], [60, 60, 70, 70]], ignore=[True, False])
    found = found_of([[1, 1, 9, 9], [2, 2, 8, 8], [60, 60, 70, 70]], [0.9, 0.8, 0.7])
    matching = match_detections(found, heads)
    assert matching.found.tolist() == [IGNORED, IGNORED, 0]  # 0 among the heads that count
    assert matching.num_heads == 1


def test_half_inside_an_ignore_region_is_not_enough():
    region = truth_of([[0, 0, 10, 10]], ignore=[True])
    assert match_detections(found_of([[5, 0, 15, 10]], [0.9]), region).found.tolist() == [-1]
    assert match_detections(found_of([[4, 0, 14, 10]], [0.9]), region).found.tolist() == [-2]


def test_a_true_head_goes_before_an_ignore_region():
    both = truth_of([[0, 0, 40, 40], [0, 0, 10, 10]], ignore=[True, False])
    assert match_detections(found_of([[0, 0, 10, 10]], [0.9]), both).found.tolist() == [0]


@pytest.mark.parametrize("num_found", [0, 2])
@pytest.mark.parametrize("num_heads", [0, 3])
def test_empty_sides(num_found, num_heads):
    found = found_of([[50, 50, 60, 60]] * num_found, [0.5] * num_found)
    matching = match_detections(found, truth_of([[0, 0, 5, 5]] * num_heads))
    assert matching.found.tolist() == [FALSE_POSITIVE] * num_found
    assert matching.num_heads == num_heads


boxes = st.lists(
    st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    max_size=6,
)


@given(boxes, boxes)
def test_a_head_is_found_once_and_a_prefix_matches_alike(found_boxes, head_boxes):
    found = found_of(found_boxes, np.linspace(1, 0.5, len(found_boxes)))
    matching = match_detections(found, truth_of(head_boxes))
    hits = matching.found[matching.found >= 0]
    assert len(set(hits.tolist())) == len(hits)
    prefix = match_detections(found.above(0.75), truth_of(head_boxes))
    assert_array_equal(prefix.found, matching.found[: len(prefix.found)])


BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 8]], np.float32)


def test_pairs_by_hand():
    heads = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    pairs = Pairs.between(BOXES, heads, 0.2)
    # By detection, then by falling IoU.
    assert pairs.detection.tolist() == [0, 0, 2, 2]
    assert pairs.box.tolist() == [1, 0, 0, 1]
    assert_allclose(pairs.iou, [1, 0.8, 1, 0.8])


def test_pairs_below_the_least_iou_are_left_out():
    assert len(Pairs.between(BOXES, BOXES[2:], 0.9).iou) == 1


def test_distractors_are_regions_for_all_but_motchallenge():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [60, 60, 70, 70]], np.float32)
    truth = GroundTruth(boxes, np.array([True, True, False]), np.array([True, False, False]))
    overlap = Overlap(Detections.from_arrays(boxes, [0.9, 0.8, 0.7], SIZE), truth)
    assert_allclose(overlap.ignored_share, [1, 1, 0])
    assert_allclose(overlap.region_share, [0, 1, 0])
    assert_allclose(overlap.head_ignored_share, [0])


def test_clipping_cuts_at_the_edges_of_the_picture():
    found = Detections.from_arrays([[-5, -5, 10, 10], [90, 90, 120, 130]], [0.9, 0.8], (100, 95))
    truth = GroundTruth(np.array([[-9, 0, 10, 10]], np.float32), np.array([False]))
    clipped = Overlap(found, truth).clipped
    assert_array_equal(clipped.detections.boxes, [[0, 0, 10, 10], [90, 90, 95, 100]])
    assert_array_equal(clipped.truth.boxes, [[0, 0, 10, 10]])
    assert found.boxes[0, 0] == -5


def test_clipping_what_is_inside_or_of_unknown_size_changes_nothing():
    truth = GroundTruth(BOXES, np.zeros(3, bool))
    for size in [(100, 100), (0, 0)]:
        overlap = Overlap(Detections.from_arrays(BOXES, [0.9, 0.8, 0.7], size), truth)
        assert overlap.clipped is overlap


def test_scores_that_rise_are_refused():
    rising = Detections(BOXES, np.array([0.1, 0.2, 0.3], np.float32), SIZE)
    with pytest.raises(ValueError, match="falling scores"):
        Overlap(rising, GroundTruth(BOXES, np.zeros(3, bool)))


def pairs_of(rows):
    detection, box, iou = zip(*rows, strict=True) if rows else ((), (), ())
    return Pairs(np.array(detection, int), np.array(box, int), np.array(iou, float))


def best_by_trying_all(rows, key):
    """Return the best key of all sets in which no detection and no box stands twice."""
    best = key([])
    for size in range(1, len(rows) + 1):
        for chosen in combinations(rows, size):
            detections, boxes = {row[0] for row in chosen}, {row[1] for row in chosen}
            if len(detections) == len(boxes) == size:
                best = max(best, key(chosen))
    return best


def weight(rows):
    return sum(row[2] for row in rows)


def size_then_weight(rows):
    return len(rows), weight(rows)


@pytest.mark.parametrize("seed", range(40))
def test_against_all_sets(seed):
    generator = np.random.default_rng(seed)
    places = [(d, b) for d in range(4) for b in range(4) if generator.random() < 0.55]
    rows = [(d, b, float(generator.uniform(0.1, 1))) for d, b in places[:10]]
    heaviest = [row for row, kept in zip(rows, heaviest_pairs(pairs_of(rows)), strict=True) if kept]
    assert weight(heaviest) == pytest.approx(best_by_trying_all(rows, weight))
    most = [row for row, kept in zip(rows, most_pairs(pairs_of(rows)), strict=True) if kept]
    assert size_then_weight(most) == pytest.approx(best_by_trying_all(rows, size_then_weight))


def test_the_two_differ_where_one_good_pair_stands_in_the_way_of_two_poor_ones():
    rows = [(0, 0, 0.4), (1, 0, 0.9), (1, 1, 0.4)]
    assert heaviest_pairs(pairs_of(rows)).tolist() == [False, True, False]
    assert most_pairs(pairs_of(rows)).tolist() == [True, False, True]


def test_of_equally_heavy_sets_the_larger_one():
    rows = [(0, 0, 0.5), (1, 0, 1.0), (1, 1, 0.5)]
    assert heaviest_pairs(pairs_of(rows)).tolist() == [True, False, True]


def test_nothing_to_choose():
    assert heaviest_pairs(pairs_of([])).tolist() == []
    assert most_pairs(pairs_of([])).tolist() == []
