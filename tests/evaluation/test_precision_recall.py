import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from head_detection.evaluation.matching import Matching
from head_detection.evaluation.precision_recall import (
    NO_THRESHOLD,
    SIZE_NAMES,
    best_f1,
    counting_error,
    head_counts,
    precision_recall_curve,
    recall_by_size,
)
from head_detection.structures import GroundTruth


def matching_of(found, scores, num_heads):
    return Matching(np.array(found, np.int64), np.array(scores, np.float32), num_heads)


def test_pooled_over_pictures_by_hand():
    # By score: true .9, false .8, true .6, false .5; three heads in all.
    pictures = [matching_of([0, -1], [0.9, 0.5], 2), matching_of([-1, 0], [0.8, 0.6], 1)]
    curve = precision_recall_curve(pictures)
    assert_allclose(curve.thresholds, [0.9, 0.8, 0.6, 0.5], rtol=1e-6)
    assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 2 / 4])
    assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert_allclose(curve.f1, [1 / 2, 2 / 5, 2 / 3, 4 / 7])
    assert best_f1(curve) == pytest.approx((2 / 3, 0.6))


def test_equal_scores_stand_or_fall_together():
    curve = precision_recall_curve([matching_of([0, -1], [0.7, 0.7], 1)])
    assert_allclose(curve.precision, [0.5])


def test_ignored_detections_count_neither_way():
    curve = precision_recall_curve([matching_of([-2, 0, -2], [0.9, 0.8, 0.7], 1)])
    assert_allclose(curve.thresholds, [0.8], rtol=1e-6)
    assert best_f1(curve) == pytest.approx((1.0, 0.8))


@pytest.mark.parametrize(
    "pictures",
    [[], [matching_of([], [], 0)], [matching_of([], [], 3)], [matching_of([-1], [0.9], 2)]],
    ids=["no pictures", "empty picture", "nothing found", "only false"],
)
def test_nothing_right_has_no_threshold(pictures):
    assert best_f1(precision_recall_curve(pictures)) == (0.0, NO_THRESHOLD)


def test_false_positives_without_any_head_have_recall_zero():
    curve = precision_recall_curve([matching_of([-1], [0.9], 0)])
    assert_allclose(curve.recall, [0.0])
    assert_allclose(curve.f1, [0.0])


def test_the_threshold_keeps_its_own_detection():
    # .3 in float32 is above .3 in float64: the value must survive as a Python float.
    picture = matching_of([0], [0.3], 1)
    _, threshold = best_f1(precision_recall_curve([picture]))
    assert (picture.scores >= threshold).tolist() == [True]


def unscored(found, num_heads):
    return Matching(np.array(found, np.int64), np.zeros(len(found), np.float32), num_heads)


def test_counting_errors_by_hand():
    # Errors +3, -1, 0, and a picture without heads counted right.
    counts = np.array([[2, 5], [4, 3], [7, 7], [0, 0]])
    error = counting_error(counts)
    assert error.mae == 1.0
    assert error.rmse == pytest.approx(math.sqrt(10 / 4))
    assert error.bias == 0.5


def test_detections_in_ignore_regions_are_left_out_and_false_ones_are_not():
    counts = head_counts([unscored([0, -1, -2, -2], 1), unscored([], 3)])
    assert counts.tolist() == [[1, 2], [3, 0]]


def test_no_images_have_no_counting_error():
    counts = head_counts([])
    assert counts.shape == (0, 2)
    error = counting_error(counts)
    assert all(math.isnan(value) for value in (error.mae, error.rmse, error.bias))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1), st.randoms())
def test_the_order_of_counts_does_not_matter_and_the_root_is_above_the_mean(pairs, random):
    error = counting_error(np.array(pairs))
    random.shuffle(pairs)
    shuffled = counting_error(np.array(pairs))
    assert (shuffled.mae, shuffled.bias) == pytest.approx((error.mae, error.bias))
    assert abs(error.bias) <= error.mae + 1e-9
    assert error.mae <= error.rmse + 1e-9


def truth_of(sides, ignore=None):
    boxes = np.array([[0, 0, side, side] for side in sides], np.float32).reshape(-1, 4)
    flags = np.zeros(len(boxes), bool) if ignore is None else np.array(ignore)
    return GroundTruth(boxes, flags)


@pytest.mark.parametrize(
    ("side", "name"),
    [(7.9, "under_8"), (8, "8_to_16"), (16, "16_to_32"), (32, "32_to_96"), (96, "from_96")],
)
def test_each_size_has_its_place(side, name):
    recall = recall_by_size([unscored([0], 1)], [truth_of([side])])
    assert recall.pop(f"recall_{name}") == 1.0
    assert all(math.isnan(value) for value in recall.values())


def test_size_is_the_root_of_the_area():
    # 4 x 100 is 20 by that measure.
    truth = GroundTruth(np.array([[0, 0, 4, 100]], np.float32), np.array([False]))
    assert recall_by_size([unscored([0], 1)], [truth])["recall_16_to_32"] == 1.0


def test_pooled_over_pictures_without_ignored_heads():
    truths = [truth_of([10, 10, 50], [False, False, True]), truth_of([10, 50])]
    recall = recall_by_size([unscored([1, -1], 2), unscored([1], 2)], truths)
    assert recall["recall_8_to_16"] == pytest.approx(1 / 3)
    assert recall["recall_32_to_96"] == 1.0


def test_no_images_have_no_recall():
    recall = recall_by_size([], [])
    assert list(recall) == [f"recall_{name}" for name in SIZE_NAMES]
    assert all(math.isnan(value) for value in recall.values())
