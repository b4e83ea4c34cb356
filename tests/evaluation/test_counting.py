import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from head_detection.evaluation.counting import counting_error, head_counts
from head_detection.evaluation.matching import Matching


def matching_of(found, num_heads):
    return Matching(np.array(found, np.int64), np.zeros(len(found), np.float32), num_heads)


def test_by_hand():
    # Errors +3, -1, 0, and a picture without heads counted right.
    counts = np.array([[2, 5], [4, 3], [7, 7], [0, 0]])
    error = counting_error(counts)
    assert error.mae == 1.0
    assert error.rmse == pytest.approx(math.sqrt(10 / 4))
    assert error.bias == 0.5


def test_detections_in_ignore_regions_are_left_out_and_false_ones_are_not():
    counts = head_counts([matching_of([0, -1, -2, -2], 1), matching_of([], 3)])
    assert counts.tolist() == [[1, 2], [3, 0]]


def test_no_pictures():
    counts = head_counts([])
    assert counts.shape == (0, 2)
    error = counting_error(counts)
    assert all(math.isnan(value) for value in (error.mae, error.rmse, error.bias))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1), st.randoms())
def test_order_does_not_matter_and_the_root_is_above_the_mean(pairs, random):
    error = counting_error(np.array(pairs))
    random.shuffle(pairs)
    shuffled = counting_error(np.array(pairs))
    assert (shuffled.mae, shuffled.bias) == pytest.approx((error.mae, error.bias))
    assert abs(error.bias) <= error.mae + 1e-9
    assert error.mae <= error.rmse + 1e-9
