import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from head_detection.evaluation.jaccard_index import jaccard_counts, jaccard_index
from head_detection.evaluation.overlap import Overlap
from head_detection.structures import Detections, GroundTruth

SIZE = (80, 100)


def count(boxes, scores, truth_boxes, ignore):
    truth = GroundTruth(np.array(truth_boxes, np.float32).reshape(-1, 4), np.array(ignore, bool))
    return jaccard_counts(Overlap(Detections.from_arrays(boxes, scores, SIZE), truth))


def test_counts_by_hand():
    # One head found, one missed, one false alarm of .45: counts up to .4.
    head, missed, false = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]
    counts = count([head, false], [0.95, 0.45], [head, missed], [False, False])
    assert_array_equal(counts[:5], [[1, 2, 2]] * 5)
    assert_array_equal(counts[5:], [[1, 1, 2]] * 5)
    assert jaccard_index([counts]) == (1 / 2, 0.5)


def test_the_heaviest_matching_not_the_greedy_one():
    # The better detection prefers head 0 (IoU 1); only it can take head 1 (IoU 2/3 as well).
    heads = [[0, 0, 10, 10], [0, 2, 10, 12]]
    found = [[0, 0, 10, 10], [0, -2, 10, 8]]
    counts = count(np.array(found) + 20, [0.9, 0.8], np.array(heads) + 20, [False, False])
    assert counts[0].tolist() == [2, 2, 2]


def test_what_is_left_over_in_an_ignore_region_leaves_the_count():
    region, head = [40, 40, 80, 80], [0, 0, 10, 10]
    inside = [45, 45, 55, 55]
    counts = count(
        [head, inside], [0.9, 0.8], [head, [60, 60, 70, 70], region], [False, False, True]
    )
    # Neither the detection nor the missed head inside the region is there.
    assert counts[0].tolist() == [1, 1, 1]
    found_inside = count([inside], [0.9], [inside, region], [False, True])
    assert found_inside[0].tolist() == [1, 1, 1]


def test_a_score_at_the_threshold_is_out():
    counts = count([[0, 0, 10, 10]], [0.5], [[0, 0, 10, 10]], [False])
    assert counts[:, 0].tolist() == [1] * 5 + [0] * 5


def test_an_empty_picture_left_empty_does_not_count_and_a_false_alarm_there_does():
    head, nothing = [[0, 0, 10, 10]], np.zeros((0, 4))
    right = count(head, [0.95], head, [False])
    assert jaccard_index([right, count(nothing, [], nothing, [])])[0] == 1.0
    assert jaccard_index([right, count(head, [0.95], nothing, [])])[0] == 0.5


@pytest.mark.parametrize("with_region", [True, False])
def test_nothing_to_find_is_nan(with_region):
    region = [[0, 0, 50, 50]] if with_region else np.zeros((0, 4))
    counts = count([[5, 5, 20, 20]], [0.9], region, [True] * with_region)
    assert all(math.isnan(value) for value in jaccard_index([counts]))
    assert math.isnan(jaccard_index([])[0])


def test_nothing_found_is_zero():
    assert jaccard_index([count(np.zeros((0, 4)), [], [[0, 0, 9, 9]], [False])]) == (0.0, 0.0)
