import numpy as np
import pytest
from numpy.testing import assert_array_equal

from head_detection.evaluation.matching import Matching
from head_detection.evaluation.ranking import RECALL_POINTS, interpolated_precision, rank


def matching_of(found, scores, num_heads):
    return Matching(np.array(found, np.int64), np.array(scores, np.float32), num_heads)


def test_order_by_hand():
    ranking = rank(
        [matching_of([-1, 0], [0.8, 0.5], 1), matching_of([1, -2, 0], [0.9, 0.8, 0.8], 3)]
    )
    assert ranking.hits.tolist() == [True, False, True, True]  # ties by picture, ignored gone
    assert ranking.images.tolist() == [1, 0, 1, 0]
    assert ranking.num_heads.tolist() == [1, 3]
    assert ranking.true_positives.tolist() == [1, 1, 2, 3]
    assert ranking.false_positives.tolist() == [0, 1, 1, 1]


def test_no_pictures():
    ranking = rank([])
    assert len(ranking.hits) == len(ranking.num_heads) == len(ranking.true_positives) == 0


def precision_point_by_point(hits, num_heads):
    """COCO's rule in plain words: the best precision at this recall or beyond."""
    points, found = [], 0
    for number, hit in enumerate(hits, 1):
        found += hit
        points.append((found / num_heads, found / number))
    return [max([p for r, p in points if r >= recall], default=0.0) for recall in RECALL_POINTS]


@pytest.mark.parametrize("num_heads", [1, 3, 7, 10, 49, 99, 100, 101, 150, 333])
def test_interpolation_against_plain_words(num_heads):
    hits = np.random.default_rng(num_heads).random(2 * num_heads) < 0.5
    hits[np.cumsum(hits) > num_heads] = False
    ours = interpolated_precision(np.cumsum(hits), np.arange(1, len(hits) + 1), num_heads)
    assert ours == pytest.approx(precision_point_by_point(hits.tolist(), num_heads), abs=1e-12)


def test_interpolation_without_detections():
    nothing = np.zeros(0, np.int64)
    assert_array_equal(interpolated_precision(nothing, nothing, 3), np.zeros(101))
