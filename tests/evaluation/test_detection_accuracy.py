import numpy as np
import pytest
from numpy.testing import assert_allclose

from head_detection.evaluation.detection_accuracy import (
    NO_THRESHOLD,
    accuracy_curve,
    best_f1,
)
from head_detection.evaluation.matching import Matching


def matching_of(found, scores, num_heads):
    return Matching(np.array(found, np.int64), np.array(scores, np.float32), num_heads)


def test_pooled_over_pictures_by_hand():
    # By score: true .9, false .8, true .6, false .5; three heads in all.
    pictures = [matching_of([0, -1], [0.9, 0.5], 2), matching_of([-1, 0], [0.8, 0.6], 1)]
    curve = accuracy_curve(pictures)
    assert_allclose(curve.thresholds, [0.9, 0.8, 0.6, 0.5], rtol=1e-6)
    assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 2 / 4])
    assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert_allclose(curve.f1, [1 / 2, 2 / 5, 2 / 3, 4 / 7])
    assert best_f1(curve) == pytest.approx((2 / 3, 0.6))


def test_equal_scores_stand_or_fall_together():
    curve = accuracy_curve([matching_of([0, -1], [0.7, 0.7], 1)])
    assert_allclose(curve.precision, [0.5])


def test_ignored_detections_count_neither_way():
    curve = accuracy_curve([matching_of([-2, 0, -2], [0.9, 0.8, 0.7], 1)])
    assert_allclose(curve.thresholds, [0.8], rtol=1e-6)
    assert best_f1(curve) == pytest.approx((1.0, 0.8))


@pytest.mark.parametrize(
    "pictures",
    [[], [matching_of([], [], 0)], [matching_of([], [], 3)], [matching_of([-1], [0.9], 2)]],
    ids=["no pictures", "empty picture", "nothing found", "only false"],
)
def test_nothing_right_has_no_threshold(pictures):
    assert best_f1(accuracy_curve(pictures)) == (0.0, NO_THRESHOLD)


def test_false_positives_without_any_head_have_recall_zero():
    curve = accuracy_curve([matching_of([-1], [0.9], 0)])
    assert_allclose(curve.recall, [0.0])
    assert_allclose(curve.f1, [0.0])


def test_the_threshold_keeps_its_own_detection():
    # .3 in float32 is above .3 in float64: the figure must survive as a Python float.
    picture = matching_of([0], [0.3], 1)
    _, threshold = best_f1(accuracy_curve([picture]))
    assert (picture.scores >= threshold).tolist() == [True]
