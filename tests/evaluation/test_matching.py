import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from head_detection.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    match_detections,
    pairwise_iou,
)
from head_detection.structures import Detections, GroundTruth

SIZE = (100, 100)


def truth_of(boxes, ignore=None):
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(len(array), bool) if ignore is None else np.array(ignore, bool)
    return GroundTruth(array, flags)


def found_of(boxes, scores):
    return Detections.from_arrays(boxes, scores, SIZE)


def test_iou_by_hand():
    ious = pairwise_iou(
        np.array([[0, 0, 10, 10]], np.float32),
        np.array([[0, 0, 10, 5], [5, 5, 15, 15], [10, 0, 20, 10]], np.float32),
    )
    assert_allclose(ious, [[50 / 100, 25 / 175, 0.0]])


def test_iou_of_boxes_without_area_is_zero():
    flat = np.array([[3, 3, 3, 3]], np.float32)
    assert_array_equal(pairwise_iou(flat, flat), [[0.0]])


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
