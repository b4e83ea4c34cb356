import math

import numpy as np
import pytest

from head_detection.evaluation.matching import Matching
from head_detection.evaluation.recall_by_size import SIZE_NAMES, recall_by_size
from head_detection.structures import GroundTruth


def truth_of(sides, ignore=None):
    boxes = np.array([[0, 0, side, side] for side in sides], np.float32).reshape(-1, 4)
    flags = np.zeros(len(boxes), bool) if ignore is None else np.array(ignore)
    return GroundTruth(boxes, flags)


def matching_of(found, num_heads):
    return Matching(np.array(found, np.int64), np.zeros(len(found), np.float32), num_heads)


@pytest.mark.parametrize(
    ("side", "name"),
    [(7.9, "under_8"), (8, "8_to_16"), (16, "16_to_32"), (32, "32_to_96"), (96, "from_96")],
)
def test_each_size_has_its_place(side, name):
    recall = recall_by_size([matching_of([0], 1)], [truth_of([side])])
    assert recall.pop(f"recall_{name}") == 1.0
    assert all(math.isnan(value) for value in recall.values())


def test_size_is_the_root_of_the_area():
    # 4 x 100 is 20 by that measure.
    truth = GroundTruth(np.array([[0, 0, 4, 100]], np.float32), np.array([False]))
    assert recall_by_size([matching_of([0], 1)], [truth])["recall_16_to_32"] == 1.0


def test_pooled_over_pictures_without_ignored_heads():
    truths = [truth_of([10, 10, 50], [False, False, True]), truth_of([10, 50])]
    recall = recall_by_size([matching_of([1, -1], 2), matching_of([1], 2)], truths)
    assert recall["recall_8_to_16"] == pytest.approx(1 / 3)
    assert recall["recall_32_to_96"] == 1.0


def test_no_pictures():
    recall = recall_by_size([], [])
    assert list(recall) == [f"recall_{name}" for name in SIZE_NAMES]
    assert all(math.isnan(value) for value in recall.values())
